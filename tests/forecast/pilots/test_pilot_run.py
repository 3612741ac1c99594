"""Levels that a pilot passed, and how precisely that is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from raytt.forecast.pilots.pilot_run import EARLIEST, LEAST_NOISE, MOST_NOISE, SPACING, PilotRun, depths_to, passings
from raytt.task.candidate import Candidate


def run(steps: int = 300, rate: float = 0.01, scatter: float = 0.0, seed: int = 0) -> PilotRun:
    losses = 2.0 * np.exp(-rate * np.arange(steps))
    noisy = losses + scatter * np.random.default_rng(seed).normal(size=steps)
    return PilotRun(candidate=Candidate(lr=0.1), budget=steps, losses=noisy, diverged=False)


@pytest.mark.parametrize("target", [0.1, 0.7, 1.6])
def test_depths_are_even_and_end_at_the_target(target: float) -> None:
    depths = depths_to(target)
    assert depths[-1] == target
    assert len(depths) >= 2
    np.testing.assert_allclose(np.diff(depths), depths[0])
    assert depths[0] <= max(SPACING, target / 2.0)


def test_levels_are_passed_where_the_loss_has_fallen_so_far() -> None:
    found = passings(run(), 2.0, [0.02, 0.5, 1.0, 5.0])
    # The first is passed too early to be believed, the last not at all.
    assert [one.depth for one in found] == [0.5, 1.0]
    assert [one.steps for one in found] == pytest.approx([50.0, 100.0], rel=0.02)
    assert min(one.steps for one in found) >= EARLIEST


def test_the_noise_of_a_crossing_is_the_scatter_of_crossings() -> None:
    level, scatter = 2.0 * math.exp(-1.0), 0.15
    crossings = [run(scatter=scatter, seed=seed).steps_to(level) for seed in range(60)]
    told = [run(scatter=scatter, seed=seed).noise(100.0) for seed in range(10)]
    real = math.hypot(float(np.std(np.log(crossings))), LEAST_NOISE)
    assert np.median(told) == pytest.approx(real, rel=0.35)
    assert run().noise(100.0) == pytest.approx(LEAST_NOISE, rel=0.05)


def test_a_curve_that_does_not_fall_says_nothing() -> None:
    flat = PilotRun(candidate=Candidate(lr=0.1), budget=50, losses=np.ones(50), diverged=False)
    assert flat.noise(20.0) == MOST_NOISE


def test_a_run_is_finished_at_the_end_of_its_budget() -> None:
    whole = run(60)
    cut = PilotRun(candidate=whole.candidate, budget=60, losses=whole.losses[:30], diverged=False)
    assert (whole.finished, cut.finished) == (True, False)
