"""When curves are recorded, what they hold, and when rows are finished."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from raytt.dynamics.recording import DIVERGENCE_RATIO, SPACING, Measurements, Recorder, record_steps
from raytt.task.losses import CrossEntropy, SquaredError
from raytt.task.target import Target
from tests.support.linear_problems import frozen_backbone, squared_problem


def measured(*losses: float, resampled: tuple[float, ...] | None = None) -> Measurements:
    return Measurements(
        train_loss=np.array(losses),
        train_loss_resampled=np.array(losses if resampled is None else resampled),
        train_accuracy=None,
        held_loss=None,
        held_accuracy=None,
        val_loss=None,
        val_accuracy=None,
    )


def recorder(target: Target | None = None, *, candidates: int = 2, paths: int = 1, records: int = 4) -> Recorder:
    return Recorder(
        tangent=squared_problem(),
        loss=SquaredError(),
        steps=np.arange(records) * 10,
        candidates=candidates,
        weights=np.full((paths, 12), 1 / 12),
        target=target,
    )


BOTH = np.array([0, 1])
FIRST = np.array([0, 0])


def test_records_are_dense_first_then_evenly_spread_and_hold_every_budget() -> None:
    steps = record_steps([5000, 777, 3])
    assert steps[0] == 0
    assert steps[-1] == 5000
    assert {777, 3} <= set(steps.tolist())
    assert (np.diff(steps) >= 1).all()
    early = steps[steps < 1 / SPACING]
    np.testing.assert_array_equal(early, np.arange(len(early)))
    assert (np.diff(steps)[len(early) :] <= np.maximum(1, SPACING * steps[len(early) : -1])).all()
    assert len(steps) < 300


def test_crossings_are_resolved_to_a_percent() -> None:
    """By log-linear interpolation between the records of typical curves: exponential and power-law."""
    for curve in (lambda t: np.exp(-t / 300), lambda t: (1 + t / 50) ** -1.3):
        steps = record_steps([5000])
        fine = np.arange(5001)
        for level in (0.5, 0.1, 0.03):
            exact = np.interp(-np.log(level), -np.log(curve(fine)), fine)
            found = np.interp(-np.log(level), -np.log(curve(steps)), steps)
            assert found == pytest.approx(exact, rel=1e-3)


def test_measurements_are_plain_means() -> None:
    tangent = frozen_backbone().tangent
    weights = np.random.default_rng(0).dirichlet(np.ones(60), size=3)
    r = Recorder(tangent=tangent, loss=CrossEntropy(), steps=np.arange(3), candidates=2, weights=weights, target=None)
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(2, 60, 4, generator=generator, dtype=torch.float64)
    val_outputs = torch.randn(2, 20, 4, generator=generator, dtype=torch.float64)
    paths = torch.tensor([2, 0])
    found = r.measure(outputs, val_outputs, paths)
    one_path = r.measure(outputs, val_outputs, 2)
    for k in range(2):
        losses = torch.nn.functional.cross_entropy(outputs[k], tangent.train.targets, reduction="none").numpy()
        assert found.train_loss[k] == pytest.approx(losses.mean())
        assert found.train_loss_resampled[k] == pytest.approx(losses @ weights[paths[k]])
        assert one_path.train_loss_resampled[k] == pytest.approx(losses @ weights[2])
        hits = (outputs[k].argmax(1) == tangent.train.targets).numpy()
        assert found.train_accuracy[k] == hits.mean()
        targets = tangent.validation.targets
        assert found.val_loss[k] == pytest.approx(float(torch.nn.functional.cross_entropy(val_outputs[k], targets)))
        assert found.val_accuracy[k] == float((val_outputs[k].argmax(1) == targets).double().mean())


def test_which_curves_there_are() -> None:
    tangent = frozen_backbone().tangent
    options = {"steps": np.arange(2), "candidates": 1, "weights": np.full((1, 60), 1 / 60), "target": None}
    full = Recorder(tangent=tangent, loss=CrossEntropy(), **options).curves()
    assert full.train_accuracy is not None
    assert full.val_loss is not None
    assert full.val_accuracy is not None
    alone = Recorder(tangent=replace(tangent, validation=None), loss=CrossEntropy(), **options).curves()
    assert alone.val_loss is None
    assert alone.val_accuracy is None
    assert recorder().curves().train_accuracy is None


def test_finished_when_both_loss_and_resample_have_arrived_once() -> None:
    r = recorder(Target(kind="loss_ratio", value=0.5))
    assert not r.store(0, BOTH, FIRST, measured(1.0, 1.0, resampled=(2.0, 2.0))).any()
    assert r.store(1, BOTH, FIRST, measured(0.5, 0.4, resampled=(1.1, 1.0))).tolist() == [False, True]
    # Its loss has risen again, but it had arrived; now the resample arrives too.
    assert r.store(2, BOTH[:1], FIRST[:1], measured(0.6, resampled=(0.9,))).tolist() == [True]
    curves = r.curves()
    np.testing.assert_array_equal(curves.train_loss[:, 0], [[1.0, 0.5, 0.6, 0.6], [1.0, 0.4, 0.4, 0.4]])
    assert curves.steps_done.tolist() == [20, 10]


def test_divergence_is_infinite_from_there_on_and_a_spike_is_not() -> None:
    r = recorder(candidates=4)
    rows, zeros = np.arange(4), np.zeros(4, dtype=np.int64)
    assert not r.store(0, rows, zeros, measured(1.0, 1.0, 1.0, 1.0)).any()
    finished = r.store(1, rows, zeros, measured(0.5, 2 * DIVERGENCE_RATIO, np.inf, 0.5 * DIVERGENCE_RATIO))
    assert finished.tolist() == [False, True, True, False]
    curves = r.curves()
    assert np.isinf(curves.train_loss[1:3, 0, 1:]).all()
    assert np.isinf(curves.train_loss_resampled[1:3, 0, 1:]).all()
    assert np.isfinite(curves.train_loss[[0, 3]]).all()
    assert curves.steps_done.tolist() == [10, 10, 10, 10]


def test_several_records_of_a_row_at_once_count_in_order() -> None:
    r = recorder(Target(kind="loss", value=0.5), candidates=1)
    r.store(0, np.array([0]), np.array([0]), measured(1.0))
    twice, records = np.array([0, 0]), np.array([1, 2])
    assert r.store(records, twice, twice, measured(0.4, 0.8)).all()
    np.testing.assert_array_equal(r.curves().train_loss[0, 0], [1.0, 0.4, 0.8, 0.8])


def test_blends_are_geometric_for_losses_and_linear_for_accuracies() -> None:
    start = replace(measured(1.0, 1.0, -1.0), train_accuracy=np.array([0.2, 0.2, 0.2]))
    end = replace(measured(0.01, np.inf, 3.0), train_accuracy=np.array([0.4, 0.0, 0.4]))
    found = start.blend(end, np.array([0, 1, 2]), np.full(3, 0.5))
    np.testing.assert_allclose(found.train_loss, [0.1, np.inf, 1.0])  # a negative loss goes straight
    np.testing.assert_allclose(found.train_accuracy, [0.3, 0.1, 0.3])
    assert found.val_loss is None
