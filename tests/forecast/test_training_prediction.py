"""Forecasts from descent rates of known size: a path that falls exponentially in learning-rate time."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from raytt.errors import InputError
from raytt.forecast.family_rates import SLOWING, FamilyRates, scale_of
from raytt.forecast.forecast import Status
from raytt.forecast.pilots.pilot_run import PilotRun
from raytt.forecast.second_run import SecondRun
from raytt.forecast.training_prediction import TrainingPrediction
from raytt.forecast.training_reference import TrainingReference
from raytt.forecast.training_trust import left_out
from raytt.pricing.machine import Timing
from raytt.rates.evaluation import Metrics
from raytt.rates.lag import LagTable
from raytt.rates.signal import Signal
from raytt.task.candidate import Candidate
from raytt.task.target import Target

STEPS = 120
REFERENCE = Candidate(lr=0.01, batch_size=32)
HALF = Target(kind="loss_ratio", value=0.5)


def signal(rate: float, error: float = 0.0, noise: float = 1e-9) -> Signal:
    return Signal(rate=rate, noise=noise, rate_error=error, noise_error=0.0, minibatches=16)


def prediction(
    candidates: list[Candidate],
    rates: dict[int, float],
    *,
    budget: int = 400,
    error: float = 0.0,
    evaluated: tuple[tuple[int, Metrics], ...] = (),
    lag: LagTable | None = None,
) -> TrainingPrediction:
    """L = 2 exp(−τ) along the reference, v_B = ``rates[B]`` everywhere."""
    times = 0.01 * np.arange(STEPS + 1)
    reference = TrainingReference(
        candidate=REFERENCE,
        losses=2.0 * np.exp(-times[:-1]),
        times=times,
        point_steps=(0, STEPS // 2, STEPS),
        evaluated=evaluated,
        wasted_steps=0,
        stopped="at 0.30 of its first minibatches' loss",
    )
    sizes = tuple(sorted(rates))
    family = FamilyRates(
        reference=reference,
        batch_sizes=sizes,
        own=[[signal(rates[size], error) for size in sizes] for _ in range(3)],
        base=[signal(rates[32], error) for _ in range(3)],
        lag=lag,
    )
    return TrainingPrediction(
        budgets=dict.fromkeys(candidates, budget),
        rates={("sgd", scale_of(REFERENCE.optimizer)): family},
        num_samples_full=1000,
        num_trainable=10,
        timing=Timing(),
        work_notes=(),
        task_notes=(),
        made_from="here",
    )


def test_steps_are_learning_rate_time_over_the_ratio_of_rates() -> None:
    slow, fast, own = (Candidate(lr=0.01, batch_size=8), Candidate(lr=0.04, batch_size=32), REFERENCE)
    # 1/v on a line in 1/B through both: v_8 is half of v_32.
    found = prediction([slow, fast, own], {8: 1.0, 32: 2.0}).forecasts(HALF)
    exact = math.log(2.0) / 0.01
    assert found[own].steps == pytest.approx(exact, rel=0.01)
    assert found[slow].steps == pytest.approx(2.0 * exact, rel=0.01)
    assert found[fast].steps == pytest.approx(exact / 4.0 * 4.0**SLOWING, rel=0.03)
    assert {forecast.status for forecast in found.values()} == {Status.REACHED}


def test_intervals_widen_with_the_error_of_the_rates() -> None:
    widths = []
    for error in (0.0, 0.4):
        small = Candidate(lr=0.02, batch_size=8)
        forecast = prediction([small], {8: 1.9, 32: 2.0}, error=error).forecasts(HALF)[small]
        assert forecast.low is not None
        assert forecast.high is not None
        assert forecast.low < (forecast.steps or 0.0) < forecast.high
        widths.append(math.log(forecast.high / forecast.low))
    assert widths[1] > 1.1 * widths[0]


def test_what_is_not_reached_is_told_with_its_shortfall() -> None:
    forecast = prediction([REFERENCE], {32: 2.0}, budget=50).forecasts(HALF)[REFERENCE]
    assert (forecast.status, forecast.steps) == (Status.NOT_REACHED, None)
    assert forecast.shortfall == pytest.approx(math.log(2.0) - 0.5, rel=0.05)


def test_what_lies_outside_the_evidence_is_untrusted() -> None:
    fast = Candidate(lr=0.2, batch_size=32)
    found = prediction([REFERENCE, fast], {32: 2.0}, budget=10_000)
    assert found.forecasts(HALF)[fast].status is Status.UNTRUSTED
    assert "20 times as near to instability" in found.forecasts(HALF)[fast].doubts[0]
    deep = found.forecasts(Target(kind="loss_ratio", value=0.1))[REFERENCE]
    assert deep.status is Status.UNTRUSTED
    assert "extrapolated" in deep.doubts[0]


def test_what_rates_leave_out_is_said() -> None:
    settings: dict[str, Any] = {"lr": 0.01, "batch_size": 32, "max_grad_norm": 1.0, "weight_decay": 0.1}
    known = Candidate(**settings)
    assert prediction([known], {32: 2.0}).forecasts(HALF)[known].doubts == ()
    scaled = [Candidate(optimizer=name, **settings) for name in ("adamw", "adam")]
    words = [" ".join(left_out(candidate)) for candidate in scaled]
    assert [("max_grad_norm" in text, "weight decay" in text) for text in words] == [(True, False), (True, True)]


def test_other_targets_are_refused() -> None:
    for target, message in {
        "val_loss=0.5": "did not evaluate.*on: train_loss",
        "accuracy=0.9": "did not evaluate",
        "plateau=0.01@3": "too noisy",
    }.items():
        with pytest.raises(InputError, match=message):
            prediction([REFERENCE], {32: 2.0}).forecasts(Target.parse(target))


def evaluations() -> tuple[tuple[int, Metrics], ...]:
    """Validation loss 3 exp(−τ/2), validation accuracy τ/2, every tenth step."""
    return tuple(
        (
            step,
            Metrics(
                train_loss=None,
                train_accuracy=None,
                val_loss=3.0 * math.exp(-0.005 * step),
                val_accuracy=0.005 * step,
            ),
        )
        for step in range(0, STEPS + 1, 10)
    )


def test_validation_targets_are_read_where_the_reference_had_the_same_training_loss() -> None:
    slow, own = Candidate(lr=0.005, batch_size=32), REFERENCE
    found = prediction([slow, own], {32: 2.0}, evaluated=evaluations())
    for target, at in (("val_loss=2", 2.0 * math.log(1.5)), ("val_loss_ratio=0.6", -2.0 * math.log(0.6))):
        forecasts = found.forecasts(Target.parse(target))
        assert forecasts[own].steps == pytest.approx(at / 0.01, rel=0.02)
        assert forecasts[slow].steps == pytest.approx(at / 0.005 * 0.5**SLOWING, rel=0.02)
        assert forecasts[own].status is Status.REACHED
    forecasts = found.forecasts(Target.parse("val_accuracy=0.5"))
    assert forecasts[own].steps == pytest.approx(100.0, rel=0.02)
    assert forecasts[own].val_accuracy == pytest.approx(0.5, abs=0.01)
    missed = found.forecasts(Target.parse("val_accuracy=0.9"))[own]
    assert (missed.status, missed.shortfall) == (Status.NOT_REACHED, pytest.approx(0.3, abs=0.01))
    assert found.initial_val_loss == 3.0
    assert "val_loss" in found.bands()[own].curves


def test_where_running_statistics_lag_the_forecast_says_so() -> None:
    # Settled statistics are worth a factor of 4 in the loss; with a momentum of 0.01 they are long in coming.
    gram = np.array([[1.0, 0.0, 0.0, 0.0], *np.zeros((3, 4)).tolist()])
    table = np.tile([1.0, 2.0, 3.0, 4.0], (3, 1))
    lag = LagTable(times=np.array([0.0, 0.6, 1.2]), gram=gram, momentum=0.01, quality={"val_loss": table})
    fast = Candidate(lr=0.05, batch_size=32)
    forecast = prediction([fast], {32: 2.0}, evaluated=evaluations(), lag=lag).forecasts(Target.parse("val_loss=1.9"))[
        fast
    ]
    assert "lag behind" in forecast.doubts[0]


def test_bands_hold_the_curve_and_end_with_the_budget() -> None:
    band = prediction([REFERENCE], {32: 2.0}, budget=90).bands()[REFERENCE]
    low, middle, high = band.curves["train_loss"]
    assert band.steps[-1] == 90
    assert bool((low <= middle + 1e-12).all())
    assert bool((middle <= high + 1e-12).all())
    np.testing.assert_allclose(middle[:40], 2.0 * np.exp(-0.01 * band.steps[:40]), rtol=0.02)


def test_a_pilot_that_met_a_validation_target_is_its_own_forecast_and_slows_the_others() -> None:
    target = Target.parse("val_loss_ratio=0.7")
    own, other = Candidate(lr=0.02, batch_size=32), Candidate(lr=0.015, batch_size=32)
    plain = prediction([own, other], {32: 2.0}, evaluated=evaluations())
    # Validation loss falls as exp(−τ/2).
    exact = 2.0 * math.log(1.0 / 0.7) / 0.02
    before = plain.forecasts(target)
    assert before[own].steps == pytest.approx(exact * 2.0**SLOWING, rel=0.02)
    run = PilotRun(candidate=own, budget=400, losses=np.full(60, 2.0), diverged=False, target=target, met=1.25 * exact)
    after = plain.calibrated([run], target).forecasts(target)
    assert (after[own].status, after[own].steps) == (Status.REACHED, 1.25 * exact)
    # By a part of it: the step at which an evaluated curve meets a target is not well known.
    assert 1.02 * (before[other].steps or 0.0) < (after[other].steps or 0.0) < 1.25 * (before[other].steps or 0.0)


def test_noisy_candidates_go_further_along_the_path_to_the_same_loss() -> None:
    """Beyond its end, but to no lower training loss: the validation curve is known there."""
    noisy = Candidate(lr=0.02, batch_size=32)
    plain = prediction([noisy], {32: 2.0}, evaluated=evaluations())
    (key,) = plain.rates
    row = [signal(2.0, noise=40.0)]
    found = replace(plain, rates={key: replace(plain.rates[key], own=[row] * 3, base=row * 3)})
    end = plain.rates[key].reference.path().times[-1]
    forecast = found.forecasts(Target.parse("val_loss_ratio=0.58"))[noisy]
    assert forecast.status is Status.REACHED, forecast
    assert 0.02 * (forecast.steps or 0.0) * 2.0**-SLOWING > end


def test_pilots_tell_who_is_unstable_and_who_is_late() -> None:
    fast, faster, late = (Candidate(lr=lr, batch_size=32) for lr in (0.05, 0.1, 0.02))
    plain = prediction([fast, faster, late], {32: 2.0})
    climbing = PilotRun(candidate=fast, budget=400, losses=np.linspace(2.0, 4.0, 40), diverged=False)
    slow = PilotRun(candidate=late, budget=400, losses=np.linspace(2.0, 1.7, 70), diverged=False)
    found = plain.calibrated([climbing, slow], HALF).forecasts(HALF)
    # Given up on the way they may come down again: suspected, and ranked behind all that are trusted.
    assert found[fast].status is found[faster].status is Status.UNTRUSTED
    assert "after 40 of 400 steps its loss was above its start" in found[fast].doubts[0]
    assert "no faster" in found[faster].doubts[0]
    diverged = plain.calibrated([replace(climbing, diverged=True), slow], HALF).forecasts(HALF)
    assert diverged[fast].status is diverged[faster].status is Status.UNSTABLE
    assert found[late].status is Status.UNTRUSTED
    assert (found[late].steps or 0.0) >= 70.0
    assert "had not arrived after 70 steps" in found[late].doubts[0]
    assert plain.forecasts(HALF)[late].status is Status.REACHED


def test_a_pilot_that_arrived_covers_those_that_are_no_faster() -> None:
    slow, fast, faster = (Candidate(lr=lr, batch_size=32) for lr in (0.08, 0.1, 0.12))
    plain = prediction([slow, fast, faster], {32: 2.0})
    assert {found.status for found in plain.forecasts(HALF).values()} == {Status.UNTRUSTED}
    losses = 2.0 * np.exp(-0.05 * np.arange(30))
    arrived = PilotRun(candidate=fast, budget=400, losses=losses, diverged=False)
    found = plain.calibrated([arrived], HALF).forecasts(HALF)
    assert found[slow].status is found[fast].status is Status.REACHED
    assert found[faster].status is Status.UNTRUSTED
    given_up = replace(arrived, losses=losses[:5])
    assert plain.calibrated([given_up], HALF).forecasts(HALF)[slow].status is Status.UNTRUSTED


def test_a_second_run_at_a_higher_learning_rate_tells_what_others_lose() -> None:
    """It took as many steps as the reference at four times its learning rate: there learning rates gain nothing."""
    candidates = [Candidate(lr=lr, batch_size=32) for lr in (0.02, 0.04, 0.048, 0.08, 0.005)]
    plain = prediction(candidates, {32: 2.0})
    (key,) = plain.rates
    reference = plain.rates[key].reference
    second = replace(reference, candidate=Candidate(lr=0.04, batch_size=32), times=4.0 * reference.times)
    family = replace(plain.rates[key], second=SecondRun(reference=second, gained=0.2))
    assert family.slowing.powers == pytest.approx(1.0, abs=0.02)
    found = replace(plain, rates={key: family}).forecasts(HALF)
    steps = [found[c].steps or 0.0 for c in candidates]
    np.testing.assert_allclose(steps[:4], reference.depth(HALF) / 0.01, rtol=0.03)
    assert steps[4] == pytest.approx(plain.forecasts(HALF)[candidates[4]].steps or 0.0)
    assert [found[c].status for c in candidates[:3]] == [Status.REACHED] * 3
    assert found[candidates[3]].status is Status.UNTRUSTED
    # One that is not expected to arrive for that reason bears it, too.
    short = replace(plain, rates={key: family}, budgets=dict.fromkeys(candidates, 60)).forecasts(HALF)[candidates[3]]
    assert short.status is Status.NOT_REACHED
    assert "is extrapolated" in "; ".join(short.doubts)
    assert "2.0 times slower for it is extrapolated" in "; ".join(found[candidates[3]].doubts)


def test_a_reference_run_that_overshoots_is_not_to_be_followed() -> None:
    found = prediction([REFERENCE], {32: 60.0}).forecasts(HALF)[REFERENCE]
    assert found.status is Status.UNTRUSTED
    assert "of what its gradients promise" in found.doubts[0]
