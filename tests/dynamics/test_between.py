"""Records between two measured ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from raytt.dynamics.between import Between
from raytt.dynamics.recording import DIVERGENCE_RATIO, Measurements, Recorder, measured_records, record_steps
from raytt.dynamics.simulate import simulate
from raytt.task.candidate import Candidate
from raytt.task.losses import CrossEntropy, SquaredError
from raytt.task.target import Target
from tests.support.linear_problems import frozen_backbone, squared_problem


def measured(losses: list[float]) -> Measurements:
    found = np.array(losses)
    return Measurements(
        train_loss=found,
        train_loss_resampled=found,
        train_accuracy=None,
        held_loss=None,
        held_accuracy=None,
        val_loss=None,
        val_accuracy=None,
    )


def test_the_first_and_every_last_record_are_measured_and_the_others_evenly() -> None:
    budgets = [3000, 777, 5]
    steps = record_steps(budgets)
    flags = measured_records(steps, budgets)
    chosen = steps[flags]
    assert {0, *budgets} <= set(chosen.tolist())
    assert len(chosen) < 0.5 * len(steps)
    gaps = np.diff(chosen)
    assert (gaps <= np.maximum(1, 0.2 * chosen[:-1])).all()


def test_only_rows_that_something_happened_to_are_evaluated_between() -> None:
    """The states here are the losses themselves."""
    evaluated: list[list[float]] = []

    def measure(state: torch.Tensor, alpha: torch.Tensor | None) -> Measurements:
        assert alpha is not None
        np.testing.assert_array_equal(alpha.numpy(), -state.numpy())
        evaluated.append(state.tolist())
        return measured(state.tolist())

    target = Target(kind="loss_ratio", value=0.5)
    weights = np.full((1, 12), 1 / 12)
    recorder = Recorder(
        tangent=squared_problem(),
        loss=SquaredError(),
        steps=np.array([0, 10, 20]),
        candidates=3,
        weights=weights,
        target=target,
    )
    rows, paths = np.arange(3), np.zeros(3, dtype=np.int64)
    start, end = measured([1.0, 1.0, 1.0]), measured([0.64, 0.4, 2 * DIVERGENCE_RATIO])
    recorder.store(0, rows, paths, start)
    between = Between(recorder, measure)
    state = torch.tensor([0.9, 0.49, 3.0])
    between.keep(1, state, -state)
    state.fill_(7.0)  # what was kept is a copy
    between.store(rows, paths, (0, start), (2, end))
    finished = recorder.store(2, rows, paths, end)
    assert finished.tolist() == [False, True, True]
    curves = recorder.curves().train_loss[:, 0]
    np.testing.assert_allclose(curves[0], [1.0, 0.8, 0.64])  # geometric mean; its state was not looked at
    np.testing.assert_allclose(curves[1], [1.0, 0.49, 0.4])
    np.testing.assert_allclose(curves[2], [1.0, 3.0, np.inf])
    assert np.allclose(evaluated, [[0.49, 3.0]])


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_crossings_are_where_every_record_measured_has_them(momentum: float) -> None:
    """First passages of a noisy run: equal, unless a dip of one record was passed over; never earlier."""
    tangent = frozen_backbone().tangent
    candidates = [Candidate(lr=lr * (1 - momentum), momentum=momentum, batch_size=8) for lr in (0.02, 0.05, 0.1, 0.2)]
    budgets, options = [400] * 4, {"num_paths": 8, "seed": 3}
    free = simulate(tangent, CrossEntropy(), candidates, budgets, target=None, **options)
    target = Target(kind="loss_ratio", value=0.6)
    found = simulate(tangent, CrossEntropy(), candidates, budgets, target=target, **options)
    np.testing.assert_array_equal(found.steps, free.steps)
    first = [(c.train_loss <= 0.6 * c.train_loss[..., :1]).argmax(axis=2) for c in (free, found)]
    assert (first[0] > 0).sum() > 20
    assert (first[1] >= first[0]).all()
    assert (first[1] == first[0]).mean() > 0.8
