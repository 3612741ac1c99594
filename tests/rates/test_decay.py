"""Weight decay in descent rates: against a quadratic's closed form, and against real training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from raytt.rates.decay import plain_decay, slope, slowed
from raytt.rates.descent_rates import descent_rate
from raytt.rates.gradients import MinibatchGradients
from raytt.task.candidate import Candidate
from raytt.task.parameter_groups import ParameterGroup
from raytt.task.task import Task
from raytt.training.model import prepare_for_training
from raytt.training.objective import Objective
from raytt.training.steps import Steps
from tests.support.training_task import TASK

from .predictions import Predictor
from .problems import NUM_SAMPLES, Weights, regression

SGD = Candidate(lr=0.05, batch_size=32)


def test_decay_counts_where_no_preconditioner_divides_it() -> None:
    for name, expected in (("sgd", 0.1), ("adamw", 0.1), ("adam", 0.0), ("rmsprop", 0.0)):
        assert plain_decay(Candidate(optimizer=name, lr=0.1, weight_decay=0.1)) == expected


def test_the_slope_is_that_of_the_curve() -> None:
    times = np.linspace(0.0, 4.0, 401)
    places = np.array([0.5, 1.0, 3.0])
    found = slope(lambda x: np.exp(-x), times, places)
    # Of an exponential the difference quotient is sinh(0.25 τ)/(0.25 τ) times the derivative.
    np.testing.assert_allclose(found, np.exp(-places) * np.sinh(0.25 * places) / (0.25 * places), rtol=1e-12)
    assert slope(lambda x: np.exp(-x), times, np.zeros(1))[0] == pytest.approx(1.0, rel=0.1)


def test_first_order_ends_before_progress_does() -> None:
    np.testing.assert_allclose(slowed(np.array([1.0, 1.0, 2.0]), np.array([-0.3, -5.0, 5.0])), [0.7, 0.1, 3.8])


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_a_small_step_lowers_the_loss_by_rate_and_decay(name: str) -> None:
    """With all samples in the minibatch nothing is random: the loss changes by −η (v + λ ⟨ḡ, w⟩)."""
    start = torch.linspace(-3.0, 4.0, 6, dtype=torch.float64)
    groups = [ParameterGroup(patterns=["w"], lr_scale=3.0)]
    task = Task(
        name="t",
        model=lambda: Weights(start),
        data=regression,
        loss="squared_error",
        mode="train",
        parameter_groups=groups,
    )
    candidate = Candidate(optimizer=name, lr=0.1, weight_decay=0.7)
    source = MinibatchGradients(task, seed=1)
    blocks = [source.block(0, NUM_SAMPLES, range(b, b + 2)) for b in (0, 2)]
    found = descent_rate(candidate, blocks, source.lr_scales(), source.decayed_weights())
    lr, objective, model = 1e-7, Objective(task), prepare_for_training(task)
    before = Steps(model, objective, candidate).take(lr, lambda rows: regression(), np.arange(NUM_SAMPLES))
    after = float(objective.value(model, regression()).detach())
    assert found.rate + 0.7 * found.pull == pytest.approx((before - after) / lr, rel=1e-3)
    assert abs(0.7 * found.pull) > 0.1 * found.rate


def test_groups_with_a_decay_of_their_own_do_not_follow_the_candidate() -> None:
    groups = [ParameterGroup(patterns=["8.*"], weight_decay=0.2)]
    source = MinibatchGradients(replace(TASK, parameter_groups=groups), seed=1)
    decayed, weights = source.decayed_weights(), source.weights()
    assert torch.equal(decayed[:-2570], weights[:-2570])
    assert not bool(decayed[-2570:].any())


def test_predicted_steps_with_decay_are_those_of_real_training() -> None:
    predictor = Predictor(TASK, SGD, steps=300, stop_ratio=0.2)
    decayed = replace(SGD, weight_decay=0.04)
    plain, slow = predictor.predicted([SGD, decayed], 0.25, budget=500)
    real = predictor.real(decayed, 0.25, budget=500) / predictor.real(SGD, 0.25, budget=500)
    assert real > 1.1
    # At a hundred times the usual decay first order tells most of what it does.
    assert 1.0 + 0.5 * (real - 1.0) < slow / plain < 1.0 + 1.5 * (real - 1.0)
