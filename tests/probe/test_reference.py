"""The reference run on small networks: where it stops, what it keeps, how it finds a learning rate."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from raytt.candidates import Candidate
from raytt.errors import InputError
from raytt.probe.reference import (
    ReferenceRun,
    common_scale,
    noise_factor,
    run_reference,
    unflatten,
    variance_share,
)
from raytt.probe.settings import ProbeSettings
from raytt.probe.sketch import CountSketch, project
from raytt.probe.worker import Point, ProbeWorker
from raytt.task import Task
from raytt.training import train

CLASSES = 4
SGD = Candidate(lr=0.02, momentum=0.9, batch_size=16)
ADAMW = Candidate(optimizer="adamw", lr=3e-3, batch_size=16)


def _model() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(10, 24), nn.Tanh(), nn.Linear(24, CLASSES))


def _data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    targets = torch.arange(80) % CLASSES
    centres = torch.randn(CLASSES, 10, generator=generator)
    return centres[targets] + 0.7 * torch.randn(80, 10, generator=generator), targets


TASK = Task(name="reference", model=_model, data=_data)


def _run(candidate: Candidate = SGD, **changes: Any) -> ReferenceRun:
    settings: dict[str, Any] = {
        "seed": 3,
        "stop_ratio": 0.2,
        "num_waypoints": 3,
        "most_steps": 2000,
        "eval_index": np.arange(80),
        "batch_sizes": (4, 16, 64),
    }
    return run_reference(TASK, candidate, **(settings | changes))


@pytest.fixture(scope="module", params=[SGD, ADAMW], ids=["sgd", "adamw"])
def found(request: pytest.FixtureRequest) -> ReferenceRun:
    return _run(request.param)


def test_stops_where_asked_and_keeps_weights_at_even_shares_of_the_way(found: ReferenceRun) -> None:
    ratios = found.losses / found.losses[0]
    assert ratios[-1] <= 0.2 < ratios[:-1].min()
    at = [float(np.interp(w.step, found.steps, ratios)) for w in found.waypoints]
    assert len(at) == 3
    for ratio, level in zip(at, (0.2 ** (1 / 3), 0.2 ** (2 / 3), 0.2), strict=True):
        assert 0.8 * level <= ratio <= level
    assert found.wasted_steps == 0


def test_it_is_the_training_of_raytt_itself(found: ReferenceRun) -> None:
    real = train(TASK, found.candidate, seed=3, steps=int(found.steps[-1]), record_at=found.steps)
    np.testing.assert_allclose(found.losses, real.train_loss, rtol=1e-6)


def test_adamw_keeps_its_preconditioner() -> None:
    run = _run(ADAMW)
    # By hand, with torch's optimizer, up to the first waypoint.
    snapshots: list[dict[str, Tensor]] = []
    train(
        TASK,
        ADAMW,
        seed=3,
        steps=run.waypoints[0].step,
        on_step=lambda t, _, model: snapshots.append({n: p.detach().clone() for n, p in model.trainable.items()}),
    )
    weights = unflatten(run.waypoints[0].weights, snapshots[0])
    for name, value in snapshots[-1].items():
        torch.testing.assert_close(weights[name], value)
    common = common_scale(run.waypoints)
    assert common is not None
    assert all(w.scale is not None and (w.scale > 0).all() for w in run.waypoints)
    expected = np.prod([w.scale for w in run.waypoints], axis=0, dtype=np.float64) ** (1 / 3)
    np.testing.assert_allclose(common, expected, rtol=1e-5)


def test_smaller_batches_shorten_adamws_updates() -> None:
    factors = _run(ADAMW).noise_factors
    assert factors[16] == pytest.approx(1.0)
    assert factors[4] < 1.0 < factors[64]
    assert set(_run(SGD).noise_factors.values()) == {1.0}


def test_noise_factor_in_closed_form() -> None:
    signal, noise = np.array([4.0]), np.array([5.0])
    # √(s² + n²) = 3 with the reference's batch; four times the noise variance gives √24.
    assert noise_factor(signal, noise, 4.0) == pytest.approx(3.0 / np.sqrt(24.0))
    assert noise_factor(signal, np.zeros(1), 4.0) == pytest.approx(1.0)
    assert noise_factor(np.zeros(1), noise, 4.0) == 1.0


def test_an_unstable_learning_rate_is_lowered_and_its_steps_are_counted() -> None:
    run = _run(replace(SGD, lr=30.0), num_waypoints=2)
    assert run.candidate.lr < 30.0
    assert run.wasted_steps > 0
    assert run.losses[-1] <= 0.2 * run.losses[0]


def test_a_learning_rate_that_hardly_moves_is_raised() -> None:
    run = _run(replace(SGD, lr=1e-5))
    assert run.candidate.lr > 1e-5
    assert run.wasted_steps > 0
    assert run.losses[-1] <= 0.2 * run.losses[0]


def test_at_its_most_steps_the_last_weights_are_kept() -> None:
    run = _run(most_steps=12)
    assert run.steps[-1] == 12
    assert run.waypoints[-1].step == 12
    assert "12 steps" in run.stopped


def test_a_run_that_goes_nowhere_is_told() -> None:
    with pytest.raises(InputError, match="did not lower the training loss"):
        _run(replace(SGD, lr=1e-9), most_steps=20)


def test_scaled_rows_have_the_inner_products_of_the_preconditioned_jacobian() -> None:
    """E⟨rows_i, rows_j⟩ = J_i D₀⁻¹ J_jᵀ and E⟨rows_i, updates_j⟩ = J_i D⁻¹ J_jᵀ, here with R above D: within 5/√R."""
    run = _run(ADAMW)
    point = Point(weights=run.waypoints[1].weights, scale=run.waypoints[1].scale, common=common_scale(run.waypoints))
    index = np.arange(4)
    worker = ProbeWorker(TASK, ProbeSettings(proj_dim=16384), index)
    plain = worker.probe(index)
    worker.move(point)
    shard = worker.probe(index)
    assert shard.updates is not None
    network = worker.network
    parameters = {n: p.detach() for n, p in network.trainable.items()}
    inputs, _ = _data()

    def forward(weights: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(network.module, weights, (inputs[:4],))

    jacobians = torch.func.jacrev(forward)(parameters)
    exact = torch.cat([jacobians[n].reshape(4 * CLASSES, -1) for n in parameters], dim=1).double().numpy()
    assert point.scale is not None
    assert point.common is not None
    rows = shard.rows.reshape(4 * CLASSES, -1).astype(np.float64)
    updates = shard.updates.reshape(4 * CLASSES, -1).astype(np.float64)
    for found, scale in ((rows @ rows.T, point.common), (rows @ updates.T, point.scale)):
        expected = (exact / scale.astype(np.float64)) @ exact.T
        size = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
        assert np.abs(found - expected).max() / size.max() < 5.0 / np.sqrt(16384)
    # Where the point lies, and back to the start.
    moved = {n: p.detach() - q for (n, p), q in zip(network.trainable.items(), _model().parameters(), strict=True)}
    scale = unflatten(point.common, network.trainable)
    there = project(CountSketch(16384, 0), {n: m * scale[n].sqrt() for n, m in moved.items()})
    np.testing.assert_allclose(worker.position(), there.numpy(), rtol=1e-4, atol=1e-7)
    worker.move(None)
    np.testing.assert_array_equal(worker.probe(index).rows, plain.rows)


@pytest.mark.parametrize("beta", [0.0, 0.9, 0.95])
def test_variance_share_is_the_sum_of_squared_weights_of_the_moving_average(beta: float) -> None:
    for step in (1, 2, 9, 300):
        ages = np.arange(step)
        weights = (1.0 - beta) * beta**ages / (1.0 - beta**step)
        assert weights.sum() == pytest.approx(1.0)
        assert variance_share(beta, step) == pytest.approx(np.square(weights).sum())
