"""The reference run on small networks: where it stops, what it keeps, how it finds a learning rate."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from raytt.errors import InputError
from raytt.probe.settings import ProbeSettings
from raytt.probe.sketch import CountSketch, project
from raytt.probe.worker import Point, ProbeWorker
from raytt.task.candidate import Candidate
from raytt.task.task import Task
from raytt.training.loop import train
from raytt.training.reference_run import (
    ReferenceRun,
    Waypoint,
    common_scale,
    preconditioner_of,
    run_reference,
    unflatten,
)

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


TASK = Task(mode="eval", name="reference", model=_model, data=_data)


def _run(candidate: Candidate = SGD, **changes: Any) -> ReferenceRun:
    settings: dict[str, Any] = {
        "seed": 3,
        "stop_ratio": 0.2,
        "num_waypoints": 3,
        "most_steps": 2000,
        "eval_index": np.arange(80),
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


class _WithUnused(nn.Module):
    """A network with a head that the outputs do not depend on, as a pooler that nobody reads."""

    def __init__(self) -> None:
        super().__init__()
        self.used = _model()
        self.pooler = nn.Linear(10, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.used(inputs)  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", ["adamw", "adam", "rmsprop"])
def test_parameters_that_get_no_gradient_have_no_second_moment(name: str) -> None:
    candidate = Candidate(optimizer=name, lr=3e-3, batch_size=16)
    task = replace(TASK, model=lambda: torch.manual_seed(0) and _WithUnused())
    settings: dict[str, Any] = {"seed": 3, "stop_ratio": 0.5, "num_waypoints": 1, "most_steps": 300}
    found = run_reference(task, candidate, eval_index=np.arange(80), **settings)
    second = found.waypoints[-1].second
    assert second is not None
    unused = 10 * 3 + 3
    assert not second[-unused:].any()
    assert second[:-unused].any()


def test_the_size_of_adamws_preconditioner_in_closed_form() -> None:
    def waypoint(second: float, scale: float) -> Waypoint:
        return Waypoint(
            step=1,
            weights=np.zeros(2, dtype=np.float32),
            scale=np.full(2, scale, dtype=np.float32),
            second=np.full(2, second, dtype=np.float32),
        )

    start = np.array([3.0, 4.0], dtype=np.float32)
    found = preconditioner_of([waypoint(4.0, 2.5), waypoint(9.0, 3.5)], eps=0.5, start=start)
    assert found is not None
    common = (2.5 * 3.5) ** 0.5
    moments = [2 * 4.0 * common / 2.5**2, 2 * 9.0 * common / 3.5**2]
    assert found.second_moment == pytest.approx((moments[0] * moments[1]) ** 0.5)
    assert found.eps_share == pytest.approx((0.5 / 2.5 + 0.5 / 3.5) / 2)
    assert found.inverse == pytest.approx((1 / 2.5 + 1 / 3.5) / 2)
    assert found.weights == pytest.approx(25.0 * common * (1 / 2.5**2 + 1 / 3.5**2) / 2)
    assert preconditioner_of([waypoint(0.0, 0.5)], eps=0.5, start=start) is None


def test_adamws_preconditioner_is_as_large_as_its_shape_without_epsilon() -> None:
    run = _run(ADAMW)
    common = common_scale(run.waypoints)
    assert common is not None
    assert run.preconditioner is not None
    # V = Σ v̂ D₀ / D² is Σ D₀ but for ε and the floor.
    assert run.preconditioner.second_moment == pytest.approx(float(common.sum()), rel=0.1)
    assert 0.0 < run.preconditioner.eps_share < 0.01
    assert _run(SGD).preconditioner is None


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
