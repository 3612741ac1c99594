from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from raytt.errors import InputError
from raytt.task.losses import Focal

F = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(1))
Y = torch.tensor([[0, 2, -100], [1, 1, 2]])


def by_hand(gamma: float, alpha: Tensor) -> float:
    losses = []
    for outputs, label in zip(F.reshape(-1, 4), Y.reshape(-1), strict=True):
        if label >= 0:
            p = torch.softmax(outputs.double(), dim=0)[label]
            losses.append(float(-alpha[label] * (1 - p) ** gamma * p.log()))
    return sum(losses) / len(losses)


@pytest.mark.parametrize(("gamma", "alpha"), [(2.0, (1.0, 1.0, 1.0, 1.0)), (0.5, (1.0, 2.0, 0.5, 3.0))])
def test_equals_its_formula(gamma: float, alpha: tuple[float, ...]) -> None:
    found = Focal(gamma=gamma, alpha=alpha).batch_value(F, Y)
    assert found.item() == pytest.approx(by_hand(gamma, torch.tensor(alpha)), rel=1e-5)


def test_without_focus_it_is_cross_entropy() -> None:
    flat, labels = F.reshape(6, 4), Y.reshape(6)
    torch.testing.assert_close(Focal(gamma=0.0).batch_value(flat, labels), cross_entropy(flat, labels))
    assert Focal().batch_accuracy(flat, labels).item() == pytest.approx((flat.argmax(dim=1) == labels).sum().item() / 5)


@pytest.mark.parametrize(
    ("loss", "targets", "message"),
    [
        (Focal(), torch.zeros(6), "needs a class index per sample"),
        (Focal(), torch.full((6,), 4), "Labels run from 4 to 4"),
        (Focal(alpha=(1.0, 2.0)), torch.zeros(6, dtype=torch.int64), "2 weights for 4 outputs"),
    ],
)
def test_what_does_not_fit_is_refused(loss: Focal, targets: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        loss.check(F.reshape(6, 4), targets)


def test_negative_settings_are_refused() -> None:
    with pytest.raises(InputError, match=r"gamma=-1\.0"):
        Focal(gamma=-1.0)
