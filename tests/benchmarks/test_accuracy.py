"""What benchmarks conclude from: measures and baselines on cases with known answers."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from benchmarks.accuracy.__main__ import _by_configuration, _spread
from benchmarks.accuracy.baselines import (
    fitted_reference,
    mean_eigenvalue,
    median_of_others,
    other_seeds,
    rescaled_reference,
)
from benchmarks.accuracy.measures import Pair, measure
from benchmarks.accuracy.noise import errors as noise_errors
from benchmarks.accuracy.noise import fit as fit_noise
from benchmarks.accuracy.predict import Setting, real_arrival, real_crossings
from benchmarks.accuracy.record import record_grid
from benchmarks.accuracy.sensitivity import settings
from benchmarks.accuracy.spread import Miss, deep_error, sooner
from raytt.forecast.control_variate import NOISE, NOISE_BEYOND, SOONER
from raytt.forecast.model_error import Regime
from raytt.task.candidate import Candidate

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


def test_runs_that_differ_in_their_seed_alone() -> None:
    assert other_seeds([10.0, 20.0, 80.0, 7.0], ["a", "a", "a", "b"], own=0) == pytest.approx(40.0)
    assert other_seeds([10.0, 20.0, math.inf], ["a", "a", "a"], own=0) is None
    assert other_seeds([10.0, 20.0], ["a", "b"], own=0) is None
    one, other = Candidate(lr=0.1), Candidate(lr=0.2)
    found = _by_configuration([(one, pair(10, 12)), (other, pair(50, 40)), (one, pair(30, 12)), (one, pair(90, 12))])
    assert [(p.real, p.predicted) for p in found] == [(30, 12), (50, 40)]
    # A loss that falls as exp(−t / τ) is at any threshold after τ times the same: three seeds make three pairs.
    rows = [
        {"config": "c", "steps": list(range(101)), "train_loss": [math.exp(-t / tau) for t in range(101)]}
        for tau in (4.0, 8.0, 16.0)
    ]
    assert _spread(rows) == pytest.approx(math.log(2.0))
    assert _spread(rows[:1]) is None


def test_real_crossings_are_log_linear() -> None:
    row = {"steps": [0, 10, 20], "train_loss": [1.0, 0.6, 0.15]}
    found = real_crossings(row)
    assert found[0] == pytest.approx(10 + 10 * math.log(0.6 / 0.5) / math.log(0.6 / 0.15))
    assert found[3] == math.inf


def test_real_arrivals_are_linear_in_accuracy() -> None:
    row = {"steps": [0, 10, 20, 30], "val_accuracy": [0.1, 0.5, 0.9, 0.7]}
    assert real_arrival(row, 0.6) == pytest.approx(12.5)
    assert real_arrival(row, 0.05) == 0.0
    assert real_arrival(row, 0.95) == math.inf


def test_the_grid_of_records_ends_with_the_run() -> None:
    grid = record_grid(300)
    assert grid[:7] == list(range(7))
    assert grid[-1] == 300
    assert max(b / a for a, b in pairwise(grid[6:])) < 1.21


def test_the_exponent_beyond_the_reference_is_the_median_of_tasks_that_count_alike() -> None:
    def miss(task: str, depth: float, raw: float) -> Miss:
        # What is recorded was predicted with the present exponent.
        regime = Regime(depth=depth, halvings=0.0, edge=0.1)
        return Miss(task=task, optimizer="sgd", error=raw + SOONER * depth, regime=regime)

    many = [miss("a", depth, -0.3 * depth) for depth in (0.5, 1.0, 2.0) for _ in range(50)]
    few = [miss("b", depth, -0.1 * depth) for depth in (1.5, 2.0)]
    inside = [miss("b", 0.0, 5.0)]
    assert sooner(many + inside) == pytest.approx(0.3)
    assert sooner(few) == pytest.approx(0.1)
    # Deeper pairs say more of the exponent: those of "b" weigh 1.75 a run, those of "a" 1.17.
    assert sooner(many + few) == pytest.approx(0.1)
    assert deep_error(many, 0.2) == "10% (+12%)"
    assert deep_error(many, 0.0) == "30% (+35%)"


def test_sensitivity_changes_one_setting_at_a_time() -> None:
    found = settings(Setting(proj_dim=2048), ["proj_dim=512", "stop_ratio=0.05"])
    assert found["base"] == Setting(proj_dim=2048)
    assert found["proj_dim=512"] == Setting(proj_dim=512)
    assert found["stop_ratio=0.05"].stop_ratio == 0.05
    assert len({setting.label() for setting in found.values()}) == 3


def test_a_law_of_noise_is_found_again() -> None:
    generator = np.random.default_rng(3)

    def misses(task: str) -> list[Miss]:
        found = []
        for x, depth in zip(generator.uniform(-2, 2, 60), generator.uniform(0, 2, 60), strict=True):
            # As predicted by raytt, whose own law is in it, where real steps follow another.
            law = (0.1 - NOISE + (0.2 - NOISE_BEYOND) * depth) * x
            regime = Regime(depth=depth, halvings=0.0, edge=0.0)
            error = law + 0.01 * generator.standard_normal()
            found.append(Miss(task=task, optimizer="sgd", error=error, regime=regime, noise=x))
        return found

    found = misses("a") + misses("b")
    np.testing.assert_allclose(fit_noise(found), [0.1, 0.2], atol=0.01)
    assert np.abs(noise_errors(found, (0.1, 0.2))).max() < 0.05
    assert np.abs(noise_errors(found, (0.0, 0.0))).max() > 0.3
