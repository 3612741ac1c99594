"""Losses that may be negative are found out; those that cannot be on outputs of their kind are not suspected."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from raytt.task.losses import as_loss
from raytt.training.loss_sign import lowest_value

RAW = torch.randn(8, 3, generator=torch.Generator().manual_seed(1))
LABELS = torch.arange(8) % 3
REAL = torch.randn(8, 3, generator=torch.Generator().manual_seed(2))


def likelihood(outputs: Tensor, targets: Tensor) -> Tensor:
    mean, log_variance = outputs[:, 0], outputs[:, 1]
    return 0.5 * (log_variance + (targets[:, 0] - mean).square() * torch.exp(-log_variance))


def contrast(outputs: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(outputs @ targets.T, torch.arange(len(outputs)))


@pytest.mark.parametrize(
    ("loss", "targets"),
    [
        (likelihood, REAL),
        (lambda f, y: likelihood(f, y).mean(), REAL),
        (lambda f, y: -functional.cosine_similarity(f, y), REAL),
        (lambda f, y: -(f * y).sum(dim=1), REAL),
    ],
)
def test_losses_that_may_be_negative(loss: Callable[[Tensor, Tensor], Tensor], targets: Tensor) -> None:
    assert lowest_value(as_loss(loss), RAW, targets) < -0.01


@pytest.mark.parametrize(
    ("loss", "outputs", "targets"),
    [
        ("cross_entropy", RAW, LABELS),
        ("focal", RAW, LABELS),
        ("huber", RAW, REAL),
        (nn.NLLLoss(), RAW.log_softmax(1), LABELS),
        (nn.KLDivLoss(reduction="batchmean"), RAW.log_softmax(1), REAL.softmax(1)),
        (nn.BCELoss(), RAW.sigmoid(), REAL.sigmoid()),
        (lambda f, y: 1.0 - (f * y).sum(dim=1), functional.normalize(RAW, dim=1), functional.normalize(REAL, dim=1)),
        (lambda f, y: -f.gather(1, y[:, None]).log().mean(), RAW.softmax(1), LABELS),
        (lambda f, y: (y - f).square().mean() / f.mean(), RAW.abs() + 0.1, REAL),
        (contrast, RAW, REAL),
    ],
)
def test_losses_that_are_not(loss: object, outputs: Tensor, targets: Tensor) -> None:
    assert lowest_value(as_loss(loss), outputs, targets) >= 0.0  # type: ignore[arg-type]


def test_a_head_of_zeros_says_nothing_about_the_sign_of_outputs() -> None:
    assert lowest_value(as_loss(likelihood), torch.zeros(8, 3), REAL) < -0.01


def test_what_cannot_be_asked_for_single_samples_says_nothing() -> None:
    def spread(outputs: Tensor, targets: Tensor) -> Tensor:
        if len(outputs) < 2:
            raise ValueError("two samples at least")
        return outputs.var(dim=0).mean()

    assert lowest_value(as_loss(spread), RAW, REAL) == math.inf
    assert lowest_value(as_loss(contrast), (RAW, RAW), REAL) == math.inf
    assert lowest_value(as_loss(contrast), RAW, torch.zeros(3)) == math.inf
    assert lowest_value(as_loss(likelihood), torch.zeros(2, 600_000, 2), torch.zeros(2, 1)) == math.inf
