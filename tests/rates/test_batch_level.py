"""How the loss of a minibatch depends on its size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from raytt.rates.batch_level import ADAPTED, level_slopes, log_levels

SIZES = np.array([8.0, 16.0, 32.0, 64.0])


def test_exact_lines_are_found_whole() -> None:
    slopes = np.array([0.0, 2.0, -1.0])
    losses = np.exp(np.array([1.0, 0.3, -0.5])[:, None] + slopes[:, None] / SIZES)
    np.testing.assert_allclose(level_slopes(SIZES, losses), slopes, atol=1e-9)
    expected = ADAPTED * slopes[:, None] * (1.0 / SIZES - 1.0 / 32.0)
    np.testing.assert_allclose(log_levels(SIZES, 32.0, losses), expected, atol=1e-9)


def test_slopes_are_those_of_weighted_least_squares() -> None:
    noise = np.random.default_rng(0).standard_normal((6, 4)) * 1e-4
    losses = np.exp(1.0 + 3.0 / SIZES + noise)
    by_polyfit = [np.polyfit(1.0 / SIZES, row, 1, w=np.sqrt(SIZES))[0] for row in np.log(losses)]
    np.testing.assert_allclose(level_slopes(SIZES, losses), by_polyfit, rtol=1e-4)


def test_what_is_noise_hardly_counts() -> None:
    generator = np.random.default_rng(1)
    losses = np.exp(0.2 * generator.standard_normal((200, 4)) / np.sqrt(SIZES))
    raw = np.array([np.polyfit(1.0 / SIZES, row, 1, w=np.sqrt(SIZES))[0] for row in np.log(losses)])
    shrunk = level_slopes(SIZES, losses)
    assert np.sqrt(np.mean(shrunk**2)) < 0.75 * np.sqrt(np.mean(raw**2))
    assert np.median(np.abs(shrunk)) < 0.4 * np.median(np.abs(raw))


@pytest.mark.parametrize("losses", [[1.0, np.nan, 1.0, 1.0], [1.0, -0.1, 1.0, 1.0]])
def test_losses_without_a_logarithm_tell_nothing(losses: list[float]) -> None:
    np.testing.assert_array_equal(level_slopes(SIZES, np.array([losses])), [0.0])
    np.testing.assert_array_equal(level_slopes(SIZES[:2], np.array([[1.0, 2.0]])), [0.0])


def test_small_minibatches_have_higher_losses_through_batch_norm() -> None:
    """A network that has learnt its data: a fresh minibatch's statistics are the noisier the smaller it is."""
    torch.manual_seed(0)
    labels = torch.arange(2048) % 4
    inputs = 2.0 * nn.functional.one_hot(labels, 4) + 0.3 * torch.randn(2048, 4)
    network = nn.Sequential(nn.BatchNorm1d(4, affine=False), nn.Linear(4, 4)).train()
    with torch.no_grad():
        network[1].weight.copy_(4.0 * torch.eye(4))
    losses = []
    for size in SIZES.astype(int):
        order = torch.randperm(2048)
        values = [
            nn.functional.cross_entropy(network(inputs[rows]), labels[rows]).item() for rows in order.split(int(size))
        ]
        losses.append(float(np.mean(values)))
    assert level_slopes(SIZES, np.array([losses]))[0] > 0.5
