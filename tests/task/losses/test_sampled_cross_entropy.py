"""Cross-entropy from few outputs: with weights 1 it is the built-in one, and over draws it is right on average."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from torch import Tensor

from raytt.errors import InputError
from raytt.task.losses import CrossEntropy, SampledCrossEntropy


def logits(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_with_all_classes_it_is_cross_entropy(smoothing: float) -> None:
    f, v = logits(3, 5, 7), logits(3, 5, 7).flip(-1)
    ours, theirs = SampledCrossEntropy(label_smoothing=smoothing), CrossEntropy(label_smoothing=smoothing)
    weights, zeros = torch.ones(5, 7, dtype=torch.float64), torch.zeros(5, dtype=torch.int64)
    torch.testing.assert_close(ours.value(f, weights), theirs.value(f, zeros))
    torch.testing.assert_close(ours.residual(f, weights), theirs.residual(f, zeros))
    torch.testing.assert_close(ours.curvature(f, weights, v), theirs.curvature(f, zeros, v))
    assert torch.equal(ours.correct(f, weights), theirs.correct(f, zeros))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_an_output_that_stands_for_equal_ones_replaces_them(smoothing: float) -> None:
    few = logits(4, 3)
    whole = torch.cat([few[:, :2], few[:, 2:].expand(4, 5)], dim=1)
    weights = torch.tensor([[1.0, 1.0, 5.0]], dtype=torch.float64).expand(4, 3)
    zeros = torch.zeros(4, dtype=torch.int64)
    ours, theirs = SampledCrossEntropy(label_smoothing=smoothing), CrossEntropy(label_smoothing=smoothing)
    torch.testing.assert_close(ours.value(few, weights), theirs.value(whole, zeros))
    pulled = theirs.residual(whole, zeros)
    expected = torch.cat([pulled[:, :2], pulled[:, 2:].sum(dim=1, keepdim=True)], dim=1)
    torch.testing.assert_close(ours.residual(few, weights), expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_derivatives_agree_with_autograd(smoothing: float) -> None:
    f = logits(4, 5).requires_grad_()
    weights = torch.tensor([1.0, 1.0, 3.0, 3.0, 3.0], dtype=torch.float64).expand(4, 5)
    loss = SampledCrossEntropy(label_smoothing=smoothing)
    (gradient,) = torch.autograd.grad(loss.value(f, weights).sum(), f, create_graph=True)
    torch.testing.assert_close(loss.residual(f, weights), gradient)
    v = logits(4, 5).flip(0)
    (product,) = torch.autograd.grad(gradient, f, v)
    torch.testing.assert_close(loss.curvature(f, weights, v), product)


def test_the_sum_over_classes_is_right_on_average_over_all_draws() -> None:
    f = logits(1, 6)
    drawn = list(combinations(range(1, 6), 2))
    weights = torch.tensor([[1.0, 2.5, 2.5]], dtype=torch.float64)
    loss = SampledCrossEntropy()
    sums = [(loss.value(f[:, [0, *pair]], weights) + f[:, 0]).exp() for pair in drawn]
    torch.testing.assert_close(torch.stack(sums).mean(dim=0), f.exp().sum(dim=1))


def test_weights_that_do_not_fit_are_refused() -> None:
    loss = SampledCrossEntropy()
    loss.check(torch.zeros(2, 3), torch.ones(2, 3))
    for weights in (torch.ones(2, 4), torch.zeros(2, 3)):
        with pytest.raises(InputError, match=r"Weights of shape"):
            loss.check(torch.zeros(2, 3), weights)
