"""Losses on real numbers against torch, whatever the precision and shape of the targets."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from raytt.errors import InputError
from raytt.task.losses import RealCriterion, as_loss

F = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
Y = torch.rand(6, 4, generator=torch.Generator().manual_seed(2))
MODULES = (nn.MSELoss(), nn.L1Loss(), nn.SmoothL1Loss(beta=0.4), nn.HuberLoss(delta=0.4), nn.BCEWithLogitsLoss())


@pytest.mark.parametrize("module", MODULES, ids=repr)
def test_the_loss_of_a_batch_is_torchs(module: nn.Module) -> None:
    loss = as_loss(module)
    assert isinstance(loss, RealCriterion)
    torch.testing.assert_close(loss.batch_value(F, Y.double()), module(F, Y))
    # torch would compare every output with every target.
    torch.testing.assert_close(loss.batch_value(F[:, :1], Y[:, 0]), module(F[:, 0], Y[:, 0]))
    pictures = F.reshape(6, 1, 2, 2)
    torch.testing.assert_close(loss.batch_value(pictures, Y.reshape(6, 2, 2)), module(F, Y))


@pytest.mark.parametrize("module", MODULES, ids=repr)
def test_targets_of_another_size_are_refused(module: nn.Module) -> None:
    with pytest.raises(InputError, match=r"outputs have shape \(6, 4\) and targets \(6, 3\)"):
        as_loss(module).batch_value(F, Y[:, :3])


def test_several_labels_as_integers_with_weights_of_the_positive_ones() -> None:
    weight = torch.tensor([1.0, 5.0, 2.0, 0.5], dtype=torch.float64)
    loss = as_loss(nn.BCEWithLogitsLoss(pos_weight=weight))
    labels = (Y > 0.5).to(torch.int64)
    p = torch.sigmoid(F.double())
    expected = -(weight * labels * p.log() + (1 - labels) * (1 - p).log()).mean()
    assert loss.batch_value(F, labels).item() == pytest.approx(expected.item(), rel=1e-5)
    loss.check(F, labels)
    torch.testing.assert_close(loss.value(F, labels).mean(), loss.batch_value(F, labels))
    assert loss.batch_accuracy(F, labels) is None


def test_names_mean_torchs_defaults() -> None:
    for name, module in (
        ("mean_squared_error", nn.MSELoss()),
        ("l1", nn.L1Loss()),
        ("smooth_l1", nn.SmoothL1Loss()),
        ("huber", nn.HuberLoss()),
        ("binary_cross_entropy", nn.BCEWithLogitsLoss()),
    ):
        assert as_loss(name) == as_loss(module)


@pytest.mark.parametrize(("reduction", "factor"), [("batchmean", 1.0), ("mean", 0.25)])
@pytest.mark.filterwarnings("ignore:reduction.*mean")
def test_divergence_of_distributions(reduction: str, factor: float) -> None:
    logs, shares = torch.log_softmax(F, dim=1), torch.softmax(Y, dim=1)
    loss = as_loss(nn.KLDivLoss(reduction=reduction))
    by_hand = (shares * (shares.log() - logs)).sum(dim=1)
    torch.testing.assert_close(loss.value(logs, shares), factor * by_hand)
    torch.testing.assert_close(loss.batch_value(logs, shares), factor * by_hand.mean())
    loss.check(logs, shares)
