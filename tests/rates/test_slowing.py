"""The power of slowing, by hand and against walks that were made with it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from raytt.rates.rate_table import RateTable
from raytt.rates.slowing import LEAST_SHARE, Slowing
from raytt.rates.slowing_measurement import MOST, measured_slowing
from raytt.rates.walk import ReferencePath, walk
from raytt.task.candidate import Candidate

Floats = NDArray[np.float64]

STEPS = 200
PATH = ReferencePath(
    candidate=Candidate(lr=0.1, batch_size=32),
    times=0.1 * np.arange(STEPS, dtype=np.float64),
    losses=np.exp(-0.02 * np.arange(STEPS)),
)
TABLE = RateTable(
    times=np.array([0.0, 10.0]),
    batch_sizes=(32, 8),
    reference_batch_size=32,
    rates=np.ones((2, 2)),
    squares=np.array([[1.0, 4.0], [2.0, 8.0]]),
)


def test_a_power_of_the_learning_rate_where_nothing_else_is_known() -> None:
    shares = np.array([0.01, 0.5, 1.0, 4.0])
    found = Slowing(usual=0.5).factor(shares, np.array([1.0, 9.0, 9.0, 9.0]), np.zeros(4))
    np.testing.assert_allclose(found, [LEAST_SHARE**-0.5, 0.5**-0.5, 1.0, 0.5])


def test_measured_powers_hold_for_larger_steps_each_on_its_stretch() -> None:
    slowing = Slowing(usual=0.0, ends=np.array([1.0, 2.0]), powers=np.array([0.5, 1.0]), measured_at=4.0)
    shares, loads = np.array([0.5, 0.5, 4.0, 4.0, 4.0, 1.0]), np.array([1.0, 8.0, 1.0, 1.0, 1.0, 1.0])
    found = slowing.factor(shares, loads, np.array([0.0, 0.0, 0.5, 1.5, 9.0, 0.0]))
    # Half the learning rate with gradients of eight times the square weighs as much as four times the learning rate.
    np.testing.assert_allclose(found, [1.0, 0.5, 0.5, 0.25, 0.25, 1.0])
    lower = replace(slowing, measured_at=0.3)
    # Between a lower run and the reference the powers are known as well.
    np.testing.assert_allclose(
        lower.factor(shares, loads, np.array([0.0, 0.0, 0.5, 1.5, 9.0, 0.0]))[:2], [2.0**0.5, 0.5]
    )
    assert lower.extrapolated(0.5) == 1.0
    assert lower.extrapolated(3.0) == pytest.approx(3.0)
    assert slowing.extrapolated(4.0) == slowing.extrapolated(0.1) == 1.0
    assert slowing.extrapolated(12.0) == pytest.approx(3.0)
    assert Slowing(usual=0.1).extrapolated(100.0) == 1.0


def second_run(slowing: Slowing, lr: float = 0.4) -> ReferencePath:
    """A run at a higher learning rate that is slowed as told."""
    candidate = Candidate(lr=lr, batch_size=32)
    walked = walk(PATH, TABLE, [candidate], [STEPS - 1], slowing=slowing)
    return ReferencePath(candidate=candidate, times=lr * np.arange(STEPS, dtype=np.float64), losses=walked.losses[0])


@pytest.mark.parametrize("power", [0.0, 0.3, 1.0, 1.5])
@pytest.mark.parametrize("lr", [0.4, 0.03])
def test_the_power_of_a_run_that_has_one_is_found(power: float, lr: float) -> None:
    """To the rounding of steps on the first stretch, which is two to five steps long."""
    made = Slowing(usual=0.1, ends=np.array([99.0]), powers=np.array([power]), measured_at=lr / 0.1)
    found = measured_slowing(PATH, TABLE, second_run(made, lr), 0.1)
    np.testing.assert_allclose(found.powers, power, atol=0.05)
    assert found.measured_at == pytest.approx(lr / 0.1)
    assert found.usual == 0.1


def test_the_walk_with_measured_powers_is_the_second_run() -> None:
    made = Slowing(usual=0.1, ends=np.array([3.0, 99.0]), powers=np.array([0.2, 1.2]), measured_at=4.0)
    other = second_run(made)
    found = walk(PATH, TABLE, [other.candidate], [STEPS - 1], slowing=measured_slowing(PATH, TABLE, other, 0.1))
    levels = np.geomspace(0.9, 1.05 * other.losses.min(), 6)
    real = np.interp(-np.log(levels), -np.log(other.losses), np.arange(STEPS, dtype=np.float64))
    # The change lies within a stretch, of which only one power is known.
    np.testing.assert_allclose(found.steps_to(list(levels))[0][0], real, rtol=0.02, atol=4.0)
    # A learning rate between the two is between them.
    between = walk(
        PATH, TABLE, [Candidate(lr=0.2, batch_size=32)], [400], slowing=measured_slowing(PATH, TABLE, other, 0.1)
    )
    without = walk(PATH, TABLE, [Candidate(lr=0.2, batch_size=32)], [400])
    assert without.steps_to([0.2])[0][0, 0] < between.steps_to([0.2])[0][0, 0] < 4.0 * without.steps_to([0.2])[0][0, 0]


def test_smaller_minibatches_are_slowed_by_their_noise() -> None:
    made = Slowing(usual=0.0, ends=np.array([99.0]), powers=np.array([1.0]), measured_at=4.0)
    candidates = [Candidate(lr=0.1, batch_size=32), Candidate(lr=0.1, batch_size=8)]
    steps = walk(PATH, TABLE, candidates, [900, 900], slowing=made).steps_to([0.2])[0][:, 0]
    # Four times the mean square: a quarter of the progress.
    assert steps[1] == pytest.approx(4.0 * steps[0], rel=0.02)


def test_a_run_that_tells_nothing_leaves_the_usual_power() -> None:
    risen = replace(second_run(Slowing(usual=0.0)), losses=np.linspace(1.0, 2.0, STEPS))
    same = second_run(Slowing(usual=0.0), lr=0.1)
    for other in (risen, same):
        found = measured_slowing(PATH, TABLE, other, 0.1)
        assert found.usual == 0.1
        assert not len(found.powers)
    # A run that stands still after a good start is slowed by no more than the most.
    stalled = second_run(Slowing(usual=0.0))
    losses = np.where(np.arange(STEPS) < 10, stalled.losses, np.maximum(stalled.losses, stalled.losses[10] - 1e-4))
    assert measured_slowing(PATH, TABLE, replace(stalled, losses=losses), 0.1).powers.max() <= MOST
