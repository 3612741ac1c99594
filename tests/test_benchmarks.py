"""What benchmarks conclude from: measures and baselines on cases with known answers."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from benchmarks.accuracy.baselines import fitted_reference, mean_eigenvalue, median_of_others, rescaled_reference
from benchmarks.accuracy.measures import Pair, measure
from benchmarks.accuracy.predict import real_crossings
from benchmarks.accuracy.record import record_grid
from raytt.candidates import Candidate

STEPS = np.arange(0.0, 101.0)
REFERENCE = Candidate(lr=0.01, momentum=0.9)


def pair(real: float, predicted: float | None, **changes: float) -> Pair:
    return Pair(**{"real": real, "diverged": False, "predicted": predicted, "budget": 1000, **changes})


def test_errors_bias_and_misses_are_counted() -> None:
    found = measure([pair(100, 110), pair(100, 80), pair(100, None), pair(math.inf, None), pair(math.inf, 50)])
    assert (found.reached, found.never) == (3, 2)
    assert found.median == pytest.approx(math.log(1 / 0.8))
    assert found.p90 == math.inf
    assert found.bias == pytest.approx((math.log(1.1) + math.log(0.8)) / 2)
    assert found.within_13 == pytest.approx(1 / 3)
    assert found.recall == pytest.approx(0.5)
    assert found.false_alarms == pytest.approx(1 / 3)


def test_coverage_counts_open_intervals() -> None:
    found = measure([pair(100, 90, low=80, high=120), pair(100, 50, low=40, high=60), pair(100, 90, low=80)])
    assert found.coverage == pytest.approx(2 / 3)


def test_regret_is_the_real_cost_of_what_was_ranked_first() -> None:
    assert measure([pair(100, 50), pair(80, 60), pair(200, 90)]).regret == pytest.approx(0.25)
    assert measure([pair(math.inf, 50), pair(100, 60)]).regret == pytest.approx(9.0)
    assert measure([pair(100, 50), pair(200, 60), pair(300, 70)]).tau == pytest.approx(1.0)


def test_baselines_in_closed_form() -> None:
    losses = 2.0 * np.exp(-0.05 * STEPS)
    slow = Candidate(lr=0.05, max_steps=1000)
    # Half the effective learning rate takes twice the steps, exactly where the curve is an exponential.
    assert rescaled_reference(slow, REFERENCE, STEPS, losses, 0.1) == pytest.approx(2 * math.log(10) / 0.05)
    assert fitted_reference(slow, REFERENCE, STEPS, losses, 1e-4) == pytest.approx(2 * math.log(1e4) / 0.05, rel=1e-3)
    assert rescaled_reference(slow, REFERENCE, STEPS, losses, 1e-4) is None
    assert mean_eigenvalue(slow, 2.0, 0.1) == pytest.approx(math.log(10) / 0.1)
    assert median_of_others([10.0, math.inf, 30.0, 50.0], own=3) == 20.0
    # A linear schedule walks as far as a constant rate would in half its length, and no further.
    falling = Candidate(lr=0.1, schedule="linear", max_steps=100)
    assert mean_eigenvalue(falling, 1.0, math.exp(-1.0)) == pytest.approx(10.6, abs=0.2)
    assert mean_eigenvalue(falling, 0.1, math.exp(-1.0)) is None


def test_real_crossings_are_log_linear() -> None:
    row = {"steps": [0, 10, 20], "train_loss": [1.0, 0.6, 0.15]}
    found = real_crossings(row)
    assert found[0] == pytest.approx(10 + 10 * math.log(0.6 / 0.5) / math.log(0.6 / 0.15))
    assert found[3] == math.inf


def test_the_grid_of_records_ends_with_the_run() -> None:
    grid = record_grid(300)
    assert grid[:7] == list(range(7))
    assert grid[-1] == 300
    assert max(b / a for a, b in pairwise(grid[6:])) < 1.21
