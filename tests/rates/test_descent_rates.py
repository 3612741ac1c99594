"""Rates of an optimizer: the quadratic's closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from raytt.rates.descent_rates import descent_rate
from raytt.rates.gradients import GradientBlock, MinibatchGradients
from raytt.task.candidate import Candidate
from raytt.task.parameter_groups import ParameterGroup
from raytt.task.task import Task
from raytt.training.model import prepare_for_training
from raytt.training.objective import Objective
from raytt.training.steps import Steps

from .problems import NUM_SAMPLES, regression, regression_task

SGD = Candidate(lr=0.1)
ADAMW = Candidate(optimizer="adamw", lr=0.1)


def _blocks(batch_size: int, minibatches: int, block: int = 25) -> list[GradientBlock]:
    source = MinibatchGradients(regression_task(), seed=11)
    return [source.block(0, batch_size, range(start, start + block)) for start in range(0, minibatches, block)]


def _moments() -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and covariance diagonal of a single sample's gradient at w = 0."""
    x, y = regression()
    each = -x * y
    return each.mean(dim=0), each.var(dim=0)


def test_sgd_finds_the_squared_gradient_and_the_noise() -> None:
    mean, variance = _moments()
    found = descent_rate(SGD, _blocks(4, 500))
    assert found.rate == pytest.approx(float(mean @ mean), abs=4 * found.rate_error)
    assert found.rate_error < 0.1 * found.rate
    expected = float(variance.sum()) * (1 / 4 - 1 / NUM_SAMPLES)
    assert found.noise == pytest.approx(expected, abs=4 * found.noise_error)


def test_adamw_finds_the_scaled_gradient() -> None:
    mean, variance = _moments()
    spread = variance * (1 / 4 - 1 / NUM_SAMPLES)
    expected = float((mean.square() / (mean.square() + spread).sqrt()).sum())
    found = descent_rate(ADAMW, _blocks(4, 500))
    assert found.rate == pytest.approx(expected, abs=4 * found.rate_error)
    assert found.rate_error < 0.1 * found.rate


def test_few_minibatches_do_not_bias_adamw() -> None:
    width, count = 60000, 8
    generator = torch.Generator().manual_seed(1)
    for mean in (0.3, 1.0, 3.0):
        rows = mean + torch.randn(count, width, generator=generator)
        half = [
            GradientBlock(count=4, total=part.sum(dim=0), squares=part.square().sum(dim=0), loss=0.0)
            for part in rows.split(4)
        ]
        # The mean over coordinates of equal law stands for that over draws.
        assert descent_rate(ADAMW, half).rate / width == pytest.approx(mean**2 / (mean**2 + 1) ** 0.5, rel=0.04)


def _two_layers() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 1)).double()


@pytest.mark.parametrize("candidate", [SGD, ADAMW], ids=["sgd", "adamw"])
def test_a_small_step_with_parameter_groups_lowers_the_loss_at_the_rate(candidate: Candidate) -> None:
    """With all samples in the minibatch nothing is random: the loss falls by η v in the first step of torch."""
    groups = [ParameterGroup(patterns=["2.*"], lr_scale=7.0), ParameterGroup(patterns=["0.bias"], lr_scale=0.5)]
    task = Task(
        name="t", model=_two_layers, data=regression, loss="squared_error", mode="train", parameter_groups=groups
    )
    source = MinibatchGradients(task, seed=1)
    blocks = [source.block(0, NUM_SAMPLES, range(b, b + 2)) for b in (0, 2)]
    found = descent_rate(candidate, blocks, source.lr_scales())
    lr, objective, model = 1e-6, Objective(task), prepare_for_training(task)
    steps = Steps(model, objective, candidate)
    before = steps.take(lr, lambda rows: regression(), np.arange(NUM_SAMPLES))
    after = float(objective.value(model, regression()).detach())
    assert found.rate == pytest.approx((before - after) / lr, rel=1e-3)
    assert descent_rate(candidate, blocks).rate != pytest.approx(found.rate, rel=0.1)


def test_lion_finds_the_mean_sign_of_its_average() -> None:
    """Against Lion's own steps on a stationary stream of normal gradients: v is the mean displacement times ḡ."""
    generator, width, count = torch.Generator().manual_seed(3), 400_000, 32
    mean = 0.05 * torch.randn(width, generator=generator)
    rows = mean + torch.randn(count, width, generator=generator)
    blocks = [
        GradientBlock(count=4, total=part.sum(dim=0), squares=part.square().sum(dim=0), loss=0.0)
        for part in rows.split(4)
    ]
    candidate = Candidate(optimizer="lion", lr=1.0)
    found = descent_rate(candidate, blocks)
    weights = nn.Parameter(torch.zeros(width))
    begin = weights.detach()
    optimizer = candidate.optimizer.torch([weights], 1.0)
    for step in range(350):
        weights.grad = mean + torch.randn(width, generator=generator)
        optimizer.step()
        # Its moving average has settled by then.
        if step == 299:
            begin = weights.detach().clone()
    expected = float(((begin - weights.detach()) @ mean) / 50)
    assert found.minibatches == count
    assert found.rate == pytest.approx(expected, rel=0.08)
