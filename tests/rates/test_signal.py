"""Estimators of rate and noise: closed forms, explicit loops, and their law over many draws."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from raytt.errors import InputError
from raytt.rates.gradients import GradientBlock
from raytt.rates.signal import Products, block_products, estimate, moments

WIDTH = 5
MEAN = torch.tensor([1.0, -0.5, 0.0, 2.0, 0.1], dtype=torch.float64)
SPREAD = torch.tensor([1.0, 3.0, 0.5, 2.0, 4.0], dtype=torch.float64)


def _draw(count: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return MEAN + SPREAD * torch.randn(count, WIDTH, generator=generator, dtype=torch.float64)


def _blocks(rows: torch.Tensor, size: int) -> list[GradientBlock]:
    return [
        GradientBlock(count=len(part), total=part.sum(dim=0), squares=part.square().sum(dim=0), loss=0.0)
        for part in rows.split(size)
    ]


def _rms(values: list[float]) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def test_rate_and_noise_are_the_loops_over_pairs() -> None:
    rows = _draw(6, 0)
    scale = torch.tensor([1.0, 0.1, 2.0, 0.5, 3.0], dtype=torch.float64)
    pairs = [float((rows[a] * rows[b] * scale).sum()) for a in range(6) for b in range(6) if a != b]
    own = [float((row * row * scale).sum()) for row in rows]
    for size in (1, 2, 4):
        found = estimate(block_products(_blocks(rows, size), scale))
        assert found.rate == pytest.approx(np.mean(pairs))
        assert found.noise == pytest.approx(np.mean(own) - np.mean(pairs))
        assert found.minibatches == 6


def test_over_many_draws_rate_and_noise_are_unbiased_and_errors_honest() -> None:
    found = [estimate(block_products(_blocks(_draw(16, 100 + i), 2))) for i in range(300)]
    rates, noises = np.asarray([f.rate for f in found]), np.asarray([f.noise for f in found])
    assert rates.mean() == pytest.approx(float(MEAN @ MEAN), abs=4 * rates.std() / np.sqrt(300))
    assert noises.mean() == pytest.approx(float(SPREAD @ SPREAD), abs=4 * noises.std() / np.sqrt(300))
    # The jackknife of a U-statistic leans to the large side.
    assert 0.9 < _rms([f.rate_error for f in found]) / rates.std() < 1.35
    assert 0.9 < _rms([f.noise_error for f in found]) / noises.std() < 1.35
    # What the estimator is for: the square of the mean gradient would be far off.
    assert float(SPREAD @ SPREAD) / 16 > 10 * rates.std() / np.sqrt(300)


def test_the_error_falls_with_the_root_of_the_number_of_minibatches() -> None:
    few = np.std([estimate(block_products(_blocks(_draw(16, i), 4))).rate for i in range(150)])
    many = np.std([estimate(block_products(_blocks(_draw(256, i), 4))).rate for i in range(150)])
    # 1/√K where ḡ dominates, 1/K where noise does: between 4 and 16.
    assert 3.5 < few / many < 16.0


def test_moments_split_the_second_moment() -> None:
    rows = _draw(4000, 1)
    squared_mean, variance = moments(_blocks(rows, 500))
    torch.testing.assert_close(squared_mean + variance, rows.square().mean(dim=0))
    torch.testing.assert_close(squared_mean, MEAN.square(), rtol=0.3, atol=0.2)
    assert bool((squared_mean >= 0).all())


def test_one_minibatch_is_too_few() -> None:
    with pytest.raises(InputError, match="two minibatches"):
        estimate(Products(sums=np.ones((1, 1)), squares=np.ones(1), counts=np.ones(1)))
    with pytest.raises(InputError, match="two minibatches"):
        moments(_blocks(_draw(1, 0), 1))


def test_a_single_block_has_no_error() -> None:
    assert np.isnan(estimate(block_products(_blocks(_draw(4, 0), 4))).rate_error)
