"""Rates of an optimizer: the quadratic's closed form."""

from __future__ import annotations

import pytest
import torch

from raytt.rates.descent_rates import descent_rate
from raytt.rates.gradients import GradientBlock, MinibatchGradients
from raytt.task.candidate import Candidate

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
