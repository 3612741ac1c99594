"""Forecasts from descent rates of known size: a path that falls exponentially in learning-rate time."""

from __future__ import annotations

import math

import numpy as np
import pytest

from raytt.errors import InputError
from raytt.forecast.forecast import Status
from raytt.forecast.training_prediction import FamilyRates, TrainingPrediction, TrainingReference, scale_of
from raytt.pricing.machine import Timing
from raytt.rates.signal import Signal
from raytt.task.candidate import Candidate
from raytt.task.target import Target

STEPS = 120
REFERENCE = Candidate(lr=0.01, batch_size=32)
HALF = Target(kind="loss_ratio", value=0.5)


def signal(rate: float, error: float = 0.0, noise: float = 1e-9) -> Signal:
    return Signal(rate=rate, noise=noise, rate_error=error, noise_error=0.0, minibatches=16)


def prediction(
    candidates: list[Candidate], rates: dict[int, float], *, budget: int = 400, error: float = 0.0
) -> TrainingPrediction:
    """L = 2 exp(−τ) along the reference, v_B = ``rates[B]`` everywhere."""
    times = 0.01 * np.arange(STEPS + 1)
    reference = TrainingReference(
        candidate=REFERENCE,
        losses=2.0 * np.exp(-times[:-1]),
        times=times,
        point_steps=(0, STEPS // 2, STEPS),
        wasted_steps=0,
        stopped="at 0.30 of its first minibatches' loss",
    )
    sizes = tuple(sorted(rates))
    family = FamilyRates(
        reference=reference,
        batch_sizes=sizes,
        own=[[signal(rates[size], error) for size in sizes] for _ in range(3)],
        base=[signal(rates[32], error) for _ in range(3)],
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
    assert found[fast].steps == pytest.approx(exact / 4.0, rel=0.03)
    assert {forecast.status for forecast in found.values()} == {Status.REACHED}


def test_intervals_widen_with_the_error_of_the_rates() -> None:
    widths = []
    for error in (0.0, 0.4):
        forecast = prediction([REFERENCE], {32: 2.0}, error=error).forecasts(HALF)[REFERENCE]
        assert forecast.low is not None
        assert forecast.high is not None
        assert forecast.low < (forecast.steps or 0.0) < forecast.high
        widths.append(math.log(forecast.high / forecast.low))
    assert widths[1] > 1.2 * widths[0]


def test_what_is_not_reached_is_told_with_its_shortfall() -> None:
    forecast = prediction([REFERENCE], {32: 2.0}, budget=50).forecasts(HALF)[REFERENCE]
    assert (forecast.status, forecast.steps) == (Status.NOT_REACHED, None)
    assert forecast.shortfall == pytest.approx(math.log(2.0) - 0.5, rel=0.05)


def test_what_lies_outside_the_evidence_is_untrusted() -> None:
    fast = Candidate(lr=0.2, batch_size=32)
    found = prediction([REFERENCE, fast], {32: 2.0}, budget=10_000)
    assert found.forecasts(HALF)[fast].status is Status.UNTRUSTED
    assert "20 times the reference run's" in found.forecasts(HALF)[fast].doubts[0]
    deep = found.forecasts(Target(kind="loss_ratio", value=0.1))[REFERENCE]
    assert deep.status is Status.UNTRUSTED
    assert "extrapolated" in deep.doubts[0]


def test_what_rates_leave_out_is_said() -> None:
    candidate = Candidate(lr=0.01, batch_size=32, max_grad_norm=1.0, weight_decay=0.1)
    doubts = prediction([candidate], {32: 2.0}).forecasts(HALF)[candidate].doubts
    assert [word for word in ("max_grad_norm", "weight decay") if word in " ".join(doubts)] == [
        "max_grad_norm",
        "weight decay",
    ]


def test_other_targets_are_refused() -> None:
    for target in ("val_loss=0.5", "accuracy=0.9", "plateau=0.01@3"):
        with pytest.raises(InputError, match="training loss only"):
            prediction([REFERENCE], {32: 2.0}).forecasts(Target.parse(target))


def test_bands_hold_the_curve_and_end_with_the_budget() -> None:
    band = prediction([REFERENCE], {32: 2.0}, budget=90).bands()[REFERENCE]
    low, middle, high = band.curves["train_loss"]
    assert band.steps[-1] == 90
    assert bool((low <= middle + 1e-12).all())
    assert bool((middle <= high + 1e-12).all())
    np.testing.assert_allclose(middle[:40], 2.0 * np.exp(-0.01 * band.steps[:40]), rtol=0.02)
