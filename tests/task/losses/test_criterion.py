"""Loss modules of torch and of users: their own value in training mode, per-sample values where they have them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from raytt.errors import InputError
from raytt.task.losses import Criterion, as_loss

F, Y = torch.randn(5, 3, generator=torch.Generator().manual_seed(1)), torch.eye(5, 3)


class Contrast(nn.Module):
    """Negatives within the batch: one number."""

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(outputs @ targets.T, torch.arange(len(outputs)))


class Center(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.centers = nn.Parameter(torch.zeros(3))


def test_any_module_is_taken_as_it_is_in_training_mode() -> None:
    loss = as_loss(Contrast())
    assert type(loss) is Criterion
    torch.testing.assert_close(loss.batch_value(F, Y.double()), Contrast()(F, Y))
    with pytest.raises(InputError, match=r"Contrast has no per-sample losses.*Use mode='train'"):
        loss.check(F, Y)


def test_a_sum_stays_a_sum_and_has_no_mean_over_samples() -> None:
    loss = as_loss(nn.MSELoss(reduction="sum"))
    torch.testing.assert_close(loss.batch_value(F, Y), (F - Y).square().sum())
    with pytest.raises(InputError, match=r"MSELoss has no per-sample losses"):
        loss.check(F, Y)


def test_parameters_of_a_loss_are_refused() -> None:
    with pytest.raises(InputError, match=r"Center has parameters of its own \(centers\).*batch_loss"):
        as_loss(Center())


def test_what_a_module_cannot_take_is_said() -> None:
    with pytest.raises(InputError, match=r"CrossEntropyLoss cannot take outputs of shape .* with targets .*\(5, 2\)"):
        as_loss(nn.CrossEntropyLoss()).check(F, torch.zeros(5, 2))


def test_settings_and_buffers_tell_losses_apart() -> None:
    def bce(*weights: float) -> object:
        return as_loss(nn.BCEWithLogitsLoss(pos_weight=torch.tensor(weights))).identity()

    assert bce(1.0, 2.0) == bce(1.0, 2.0)
    huber = [as_loss(nn.HuberLoss(delta=delta)).identity() for delta in (1.0, 2.0)]
    others = [bce(1.0, 2.0), bce(1.0, 3.0), *huber]
    assert len(set(map(str, others))) == 4
