"""Trials known at their reports only, of curves that fall exponentially: L = 2 exp(−t/100)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from raytt.forecast.pilots.instability import climbed
from raytt.forecast.pilots.observed_run import ObservedRun, observed_run
from raytt.forecast.pilots.observed_trial import ObservedTrial
from raytt.forecast.pilots.pilot_run import LEAST_NOISE, MET_NOISE, PilotRun, passings
from raytt.task.candidate import Candidate
from raytt.task.target import Target

CANDIDATE = Candidate(lr=0.1)
HALF = Target(kind="loss_ratio", value=0.5)
VALIDATION = Target(kind="val_loss", value=1.0)
ACCURACY = Target(kind="val_accuracy", value=0.9)


def loss(steps: Any) -> np.ndarray:
    return 2.0 * np.exp(-np.asarray(steps, dtype=np.float64) / 100.0)


def seen(steps: Any, *, target: Target = HALF, start: float = 2.0, **curves: Any) -> ObservedRun | None:
    averaged = curves.pop("averaged", False)
    trial = ObservedTrial(config=CANDIDATE, steps=list(steps), curves=curves, averaged=averaged)
    return observed_run(trial, CANDIDATE, budget=400, target=target, initial_loss=2.0, start=start)


def test_sparse_reports_cross_where_the_curve_does_with_more_noise() -> None:
    exact = 100.0 * math.log(2.0)
    noises = []
    for gap in (1, 5, 20):
        steps = np.arange(gap, 201, gap)
        run = seen(steps, train_loss=loss(steps))
        assert run is not None
        assert run.steps_taken == 200
        assert run.steps_to(1.0) == pytest.approx(exact, rel=0.02)
        noises.append(run.noise(exact))
    assert noises[0] == pytest.approx(LEAST_NOISE, rel=0.05)
    # An even chance within a gap of 20 steps around step 69.
    assert noises[0] < noises[1] < noises[2]
    assert noises[2] == pytest.approx(math.hypot(LEAST_NOISE, 20.0 / (math.sqrt(12.0) * exact)), rel=0.1)


def test_scatter_of_reports_counts_once_for_all_the_steps_that_share_it() -> None:
    """Against many noisy curves: what is believed of ln t is about how it varies."""
    generator, crossings, believed = np.random.default_rng(0), [], []
    steps = np.arange(5, 301, 5)
    for _ in range(100):
        run = seen(steps, train_loss=loss(steps) * (1.0 + 0.15 * generator.standard_normal(len(steps))))
        assert run is not None
        crossings.append(math.log(run.steps_to(1.0)))
        believed.append(run.noise(69.0))
    assert 0.8 * float(np.std(crossings)) < float(np.median(believed)) < 2.0 * float(np.std(crossings))


def test_the_loss_at_the_start_is_that_of_the_reference() -> None:
    late = seen([100, 150], train_loss=loss([100, 150]))
    assert late is not None
    assert late.losses[0] == 2.0
    assert late.losses[100] == pytest.approx(loss(100), rel=1e-12)
    assert not climbed(late)
    # Levels within the first gap are hardly known.
    assert [one.noise for one in passings(late, 2.0, [0.5]) if one.noise < 0.4] == []
    own = seen([0, 100], train_loss=[1.9, 1.0])
    assert own is not None
    assert own.losses[0] == 1.9


def test_means_since_the_report_before_belong_to_the_middle_of_their_steps() -> None:
    steps = np.arange(20, 201, 20)
    means = [float(loss(np.arange(s - 20, s)).mean()) for s in steps]
    late, placed = (seen(steps, train_loss=means, averaged=averaged) for averaged in (False, True))
    assert late is not None
    assert placed is not None
    exact = 100.0 * math.log(2.0)
    assert placed.steps_to(1.0) == pytest.approx(exact, rel=0.02)
    assert late.steps_to(1.0) == pytest.approx(exact + 10.0, rel=0.02)


def test_evaluated_targets_are_met_between_evaluations() -> None:
    run = seen([50, 100], target=VALIDATION, val_loss=[1.5, 0.5])
    assert run is not None
    assert (run.met, run.target) == (75.0, VALIDATION)
    assert len(run.losses) == 0
    assert not climbed(run)
    (one,) = passings(run, 2.0, [0.3, 0.7])
    assert (one.depth, one.steps) == (0.7, 75.0)
    assert one.noise == pytest.approx(math.hypot(MET_NOISE, 50.0 / (math.sqrt(12.0) * 75.0)))
    better = seen([50, 100], target=ACCURACY, start=0.1, val_accuracy=[0.5, 0.9])
    assert better is not None
    assert better.met == 100.0
    missed = seen([50, 100], target=VALIDATION, val_loss=[1.5, 1.2])
    assert missed is not None
    assert missed.met is None
    assert passings(missed, 2.0, [0.3, 0.7]) == []


def test_a_trial_without_the_curve_of_the_target_says_nothing() -> None:
    assert seen([50, 100], target=VALIDATION, train_loss=[1.0, 0.5]) is None
    assert seen([50, 100], val_loss=[1.0, 0.5]) is None


def test_trials_that_diverge_are_seen_to() -> None:
    for values in ([2.5, math.inf], [2.5, 1e4], [2.2, 2.6]):
        run = seen([50, 100], train_loss=values)
        assert run is not None
        assert climbed(run)
        assert run.diverged == (values[1] > 20.0)


def test_every_step_reported_is_as_a_pilot() -> None:
    steps = np.arange(0, 200)
    run = seen(steps, train_loss=loss(steps))
    pilot = PilotRun(candidate=CANDIDATE, budget=400, losses=loss(steps), diverged=False)
    assert run is not None
    assert [(p.steps, p.noise) for p in passings(run, 2.0, [0.3, 0.6])] == [
        (p.steps, p.noise) for p in passings(pilot, 2.0, [0.3, 0.6])
    ]
