"""Cross-entropy of tokens, pixels and weighted classes, as torch takes its mean."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from raytt.errors import InputError
from raytt.task.losses import ClassCriterion, CrossEntropy, Loss, as_loss

TOKENS = torch.tensor([[0, 2, -100], [1, 1, 2]])
OUTPUTS = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(3))
WEIGHT = torch.tensor([1.0, 4.0, 0.5, 2.0], dtype=torch.float64)


def by_hand(labels: Tensor, *, weight: Tensor, smoothing: float = 0.0) -> float:
    """Σ w_y ℓ / Σ w_y, position by position, with torch's form of smoothing."""
    total = weights = 0.0
    for outputs, label in zip(OUTPUTS.reshape(-1, 4).double(), labels.reshape(-1), strict=True):
        if label >= 0:
            logs = torch.log_softmax(outputs, dim=0)
            total += float(-(1 - smoothing) * weight[label] * logs[label] - smoothing / 4 * (weight * logs).sum())
            weights += float(weight[label])
    return total / weights


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_weighted_mean_over_tokens_that_count(smoothing: float) -> None:
    loss = as_loss(nn.CrossEntropyLoss(weight=WEIGHT, label_smoothing=smoothing))
    assert isinstance(loss, ClassCriterion)
    found = loss.batch_value(OUTPUTS, loss.convert_batch(TOKENS.to(torch.int32)))
    assert found.item() == pytest.approx(by_hand(TOKENS, weight=WEIGHT, smoothing=smoothing), rel=1e-5)


@pytest.mark.parametrize("loss", [CrossEntropy(), as_loss(nn.CrossEntropyLoss()), as_loss("cross_entropy")], ids=repr)
def test_tokens_and_pixels(loss: Loss) -> None:
    expected = by_hand(TOKENS, weight=torch.ones(4))
    for outputs in (OUTPUTS, OUTPUTS.movedim(-1, 1)):
        assert loss.batch_value(outputs, TOKENS).item() == pytest.approx(expected, rel=1e-5)
    accuracy = loss.batch_accuracy(OUTPUTS, TOKENS)
    assert accuracy is not None
    right = (OUTPUTS.argmax(dim=-1) == TOKENS).sum().item()
    assert accuracy.item() == pytest.approx(right / 5)


@pytest.mark.parametrize("loss", [CrossEntropy(), as_loss(nn.CrossEntropyLoss())], ids=repr)
@pytest.mark.parametrize("dtype", [torch.int64, torch.float32, torch.float64])
def test_probabilities_and_one_hot_rows_in_training_mode(loss: Loss, dtype: torch.dtype) -> None:
    labels = torch.tensor([1, 0, 3])
    outputs = OUTPUTS[0]
    rows = functional.one_hot(labels, 4).to(dtype)
    found = loss.batch_value(outputs, loss.convert_batch(rows))
    torch.testing.assert_close(found, functional.cross_entropy(outputs, labels))
    accuracy = loss.batch_accuracy(outputs, loss.convert_batch(rows))
    assert accuracy is not None
    assert accuracy.item() == pytest.approx((outputs.argmax(dim=1) == labels).double().mean().item())
    soft = torch.softmax(outputs.flip(0), dim=1).double()
    expected = functional.cross_entropy(outputs, soft.float())
    torch.testing.assert_close(loss.batch_value(outputs, loss.convert_batch(soft)), expected)


def test_another_ignored_label() -> None:
    loss = as_loss(nn.CrossEntropyLoss(ignore_index=255))
    labels = TOKENS.where(TOKENS >= 0, 255)
    assert loss.batch_value(OUTPUTS, labels).item() == pytest.approx(by_hand(TOKENS, weight=torch.ones(4)), rel=1e-5)
    accuracy = loss.batch_accuracy(OUTPUTS, labels)
    assert accuracy is not None
    assert accuracy.item() == pytest.approx((OUTPUTS.argmax(dim=-1) == TOKENS).sum().item() / 5)


def test_log_probabilities() -> None:
    logs, labels = torch.log_softmax(OUTPUTS[0], dim=1), torch.tensor([1, 0, 3])
    torch.testing.assert_close(as_loss(nn.NLLLoss()).batch_value(logs, labels), functional.nll_loss(logs, labels))


@pytest.mark.parametrize(
    ("module", "labels"),
    [(nn.CrossEntropyLoss(weight=WEIGHT), [0, 1, 2]), (nn.CrossEntropyLoss(), [0, -100, 2])],
    ids=["weights", "ignored"],
)
def test_what_is_no_mean_over_samples_needs_training_mode(module: Any, labels: list[int]) -> None:
    with pytest.raises(InputError, match=r"another value than the mean of its samples .*Use mode='train'"):
        as_loss(module).check(OUTPUTS[0], torch.tensor(labels))
