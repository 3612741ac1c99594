"""What a ranking may cost."""

from __future__ import annotations

import math

import numpy as np
import pytest

from raytt.forecast.spending import FORWARD, Spending, reference_seconds, step_seconds, training_seconds
from raytt.forecast.training_reference import TrainingReference
from raytt.pricing.step_time import StepTime
from raytt.rates.evaluation import EVALUATED, Metrics
from raytt.task.candidate import Candidate
from raytt.task.target import Target

STEPS = 400


def timed(**seconds: float) -> dict[int, StepTime]:
    return {
        int(size[1:]): StepTime(batch_size=int(size[1:]), seconds=each, low=each, high=each, source="as told")
        for size, each in seconds.items()
    }


def reference(*, evaluated: int = 0) -> TrainingReference:
    """The loss falls by a factor of e in learning-rate time 1."""
    times = 0.01 * np.arange(STEPS + 1)
    metrics = Metrics(train_loss=None, train_accuracy=None, val_loss=1.0, val_accuracy=None)
    return TrainingReference(
        candidate=Candidate(lr=0.01, batch_size=32),
        losses=2.0 * np.exp(-times[:-1]),
        times=times,
        point_steps=(0, 100, 200),
        evaluated=((0, metrics),) * evaluated,
        wasted_steps=5,
        stopped="",
    )


def test_what_is_left_is_a_share_of_training_all_less_what_was_spent() -> None:
    spending = Spending(share=0.05, training=2000.0, spent=30.0)
    assert spending.left == pytest.approx(70.0)
    assert spending.plus(50.0).left == pytest.approx(20.0)
    assert spending.plus(500.0).left == 0.0
    assert spending.of(1000.0).left == pytest.approx(20.0)


def test_training_all_goes_to_the_target_or_to_the_end_of_the_budget() -> None:
    # To a quarter in learning-rate time ln 4: after 139 steps at 0.01, after 69 at 0.02, after 1386 at 0.001.
    budgets = {
        Candidate(lr=0.01, batch_size=32): 1000,
        Candidate(lr=0.02, batch_size=16): 1000,
        Candidate(lr=0.001, batch_size=32): 500,
        Candidate(optimizer="adamw", lr=0.001, batch_size=16): 300,
    }
    found = training_seconds({"sgd": reference()}, budgets, Target.parse(0.25), timed(B16=1.0, B32=2.0))
    closed = math.log(4.0) / 0.01 * 2.0 + math.log(4.0) / 0.02 * 1.0 + 500 * 2.0 + 300 * 1.0
    assert found == pytest.approx(closed, rel=0.02)


def test_a_loss_that_may_be_negative_has_no_target_on_the_way() -> None:
    budgets = {Candidate(lr=0.01, batch_size=32): 100}
    found = training_seconds({"sgd": reference()}, budgets, Target(kind="loss", value=-1.0), timed(B32=2.0))
    assert found == 200.0


def test_a_reference_run_costs_its_steps_abandoned_ones_and_evaluations() -> None:
    evaluations = FORWARD * 3 * EVALUATED / 32
    assert reference_seconds(reference(evaluated=3), timed(B32=2.0)) == pytest.approx(2.0 * (STEPS + 5 + evaluations))


def test_accumulated_minibatches_count() -> None:
    candidate = Candidate(lr=0.01, batch_size=16, accumulation_steps=4)
    assert step_seconds(candidate, timed(B16=1.0)) == pytest.approx(4.0)
