"""Final qualities from paths of known shape."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from raytt.errors import InputError
from raytt.forecast.family_rates import SLOWING
from raytt.forecast.final_quality import BEYOND, SPREAD, Estimate, FinalQuality, QualityCurve, QualityStatus
from raytt.forecast.pilots.ending import Ending
from raytt.forecast.pilots.pilot_run import PilotRun
from raytt.forecast.stopping import predicted_stop
from raytt.forecast.training_prediction import TrainingPrediction
from raytt.rates.evaluation import Metrics
from raytt.task.candidate import Candidate
from raytt.task.early_stopping import EarlyStopping
from raytt.task.rank_objective import OBJECTIVES

from .test_training_prediction import REFERENCE, STEPS, prediction

LOSS = OBJECTIVES.get("val_loss")


def metrics(step: int, *, turn: float = math.inf) -> Metrics:
    """A validation loss of 2 exp(−τ), which rises after τ = ``turn``, and an error of a quarter of it."""
    tau = 0.01 * step
    loss = 2.0 * math.exp(-min(tau, turn)) * math.exp(max(tau - turn, 0.0))
    return Metrics(train_loss=None, train_accuracy=None, val_loss=loss, val_accuracy=1.0 - 0.25 * loss)


def evaluated(turn: float = math.inf) -> tuple[tuple[int, Metrics], ...]:
    at = (0, 1, 2, 4, 7, 10, 14, 20, 28, 39, 50, 60, 70, 80, 95, 108, STEPS)
    return tuple((step, metrics(step, turn=turn)) for step in at)


def predicted(*candidates: Candidate, budget: int = 100, turn: float = math.inf) -> TrainingPrediction:
    return prediction(list(candidates), {32: 1.0}, budget=budget, evaluated=evaluated(turn))


def test_the_reference_has_in_the_end_what_was_measured_there() -> None:
    (found,) = predicted(REFERENCE, budget=60).qualities("val_loss").values()
    assert found.status is QualityStatus.PREDICTED
    assert (found.steps, found.kept) == (60.0, 60.0)
    real = metrics(60)
    assert found.estimates["val_loss"].value == pytest.approx(real.val_loss, rel=0.02)
    assert found.estimates["val_accuracy"].value == pytest.approx(real.val_accuracy, rel=0.02)
    assert found.estimates["loss"].value == pytest.approx(2.0 * math.exp(-0.6), rel=0.02)
    assert found.progress[-1].step == 60.0
    assert found.progress[-1].estimate == found.estimates["val_loss"]


def test_twice_the_learning_rate_has_it_in_half_the_steps() -> None:
    fast = Candidate(lr=0.02, batch_size=32)
    found = predicted(fast, budget=40).qualities("val_loss")[fast]
    # 40 steps at 0.02, each of which makes a little less of it.
    time = 40 * 0.02 * 2.0**-SLOWING
    assert found.estimates["val_loss"].value == pytest.approx(2.0 * math.exp(-time), rel=0.03)


def test_intervals_hold_what_is_said_of_them() -> None:
    (found,) = predicted(REFERENCE, budget=60).qualities("val_loss").values()
    estimate = found.estimates["val_loss"]
    # u = ln 2 − τ: τ off by a factor exp(±z σ), and the spread at one place, in squares.
    z, sigma = 1.6448536, 0.15
    for end, factor in ((estimate.low, math.exp(z * sigma)), (estimate.high, math.exp(-z * sigma))):
        expected = math.hypot(0.6 * abs(factor - 1.0), z * SPREAD["val_loss"])
        assert abs(math.log(end / estimate.value)) == pytest.approx(expected, rel=0.06)


def test_beyond_the_reference_it_is_extrapolated_with_a_wider_interval() -> None:
    near, far = (
        predicted(REFERENCE, budget=budget).qualities("val_loss")[REFERENCE] for budget in (STEPS - 5, 4 * STEPS)
    )
    assert (near.status, far.status) == (QualityStatus.PREDICTED, QualityStatus.EXTRAPOLATED)
    value, end = far.estimates["val_loss"], near.estimates["val_loss"]
    assert value.value < end.value
    # No more than the slope at the end, times 1 − 1/4, whatever the true curve does.
    assert value.value > 2.0 * math.exp(-4.8)
    widths = [math.log(e.high / e.value) for e in (end, value)]
    assert widths[1] > math.hypot(widths[0], 1.6 * BEYOND["val_loss"] * math.log(4.0)) * 0.8
    assert "extrapolated" not in {near.status.value}


def test_losses_stay_positive_where_the_reference_was_noisy() -> None:
    (found,) = predicted(REFERENCE, budget=4000).qualities("loss").values()
    assert 0.0 < found.estimates["loss"].low < found.estimates["loss"].value


def test_an_objective_that_was_not_evaluated_is_refused() -> None:
    bare = prediction([REFERENCE], {32: 1.0})
    with pytest.raises(InputError, match="did not evaluate"):
        bare.qualities("val_loss")
    assert set(bare.qualities()[REFERENCE].estimates) == {"loss"}


def test_early_stopping_ends_a_run_that_overfits() -> None:
    stopping = EarlyStopping(patience=3, every=5)
    over = predicted(REFERENCE, turn=0.6).final(stopping).qualities("val_loss")[REFERENCE]
    # Evaluated every 5 steps, best at 60, ended three evaluations later.
    assert (over.kept, over.steps) == (60.0, 75.0)
    assert over.steps_low is not None
    assert over.steps_high is not None
    assert over.steps_low <= 75.0 <= over.steps_high
    assert over.estimates["val_loss"].value == pytest.approx(2.0 * math.exp(-0.6), rel=0.02)
    falling = predicted(REFERENCE).final(stopping).qualities("val_loss")[REFERENCE]
    assert (falling.kept, falling.steps) == (100.0, 100.0)


def test_scatter_ends_runs_sooner_than_the_curve_alone() -> None:
    found = predicted(REFERENCE, budget=110)
    draws = np.random.default_rng(0)
    rows = []
    for step, one in evaluated():
        assert one.val_loss is not None
        rows.append((step, replace(one, val_loss=one.val_loss * math.exp(0.15 * draws.standard_normal()))))
    noisy = prediction([REFERENCE], {32: 1.0}, budget=110, evaluated=tuple(rows))
    ends = []
    for each in (found, noisy):
        curve = QualityCurve(objective=LOSS, predicted=each._curves[REFERENCE])
        ends.append(predicted_stop(curve, EarlyStopping(patience=2, every=3), 110, steps_per_epoch=1.0))
    assert ends[0].steps == 110.0
    assert ends[1].steps < 80.0
    assert ends[1].low <= ends[1].steps <= ends[1].high


def ending(candidate: Candidate, factor: float, budget: int = 100) -> Ending:
    steps = np.linspace(0.0, budget, 11)
    losses = 2.0 * np.exp(-0.01 * steps) * factor
    return Ending(
        run=PilotRun(
            candidate=candidate, budget=budget, losses=2.0 * np.exp(-0.01 * np.arange(budget)), diverged=False
        ),
        steps=steps,
        curves={"val_loss": losses, "val_accuracy": 1.0 - 0.25 * losses},
    )


def test_pilots_have_what_they_had_and_others_learn_from_them() -> None:
    other = Candidate(lr=0.012, batch_size=32)
    before = predicted(REFERENCE, other)
    after = replace(before, endings=(ending(REFERENCE, 1.3),))
    usual, learned = (each.qualities("val_loss") for each in (before, after))
    assert learned[REFERENCE].estimates["val_loss"].value == pytest.approx(2.6 * math.exp(-1.0), rel=0.01)
    assert "trained for real" in learned[REFERENCE].doubts[0]
    ratio = learned[other].estimates["val_loss"].value / usual[other].estimates["val_loss"].value
    assert 1.1 < ratio < 1.3
    widths = [
        math.log(q[other].estimates["val_loss"].high / q[other].estimates["val_loss"].low) for q in (usual, learned)
    ]
    assert widths[1] < 0.8 * widths[0]
    assert "1 candidate was trained to the end" in " ".join(after.notes)


def test_a_pilot_that_diverged_takes_no_slower_ones_with_it() -> None:
    wild, slow = Candidate(lr=0.05, batch_size=32), Candidate(lr=0.005, batch_size=32)
    failed = ending(wild, 1.0)
    run = replace(failed.run, losses=np.array([2.0, 50.0]), diverged=True)
    found = replace(predicted(wild, slow), endings=(replace(failed, run=run),)).qualities("val_loss")
    assert found[wild].status is QualityStatus.UNSTABLE
    assert found[wild].estimates == {}
    assert found[slow].status is QualityStatus.PREDICTED


def test_bad_numbers_are_refused() -> None:
    for wrong in ((1.0, 2.0, 3.0), (1.0, 0.5, math.inf), (math.nan, 0.0, 1.0)):
        with pytest.raises(ValueError, match="interval"):
            Estimate(value=wrong[0], low=wrong[1], high=wrong[2])
    with pytest.raises(ValueError, match="diverges"):
        FinalQuality(
            status=QualityStatus.UNSTABLE,
            steps=1.0,
            kept=1.0,
            estimates={"loss": Estimate(value=1.0, low=1.0, high=1.0)},
        )
