"""What goes wrong in a first pass becomes one message with its place and a remedy; what is left undone is named."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from raytt.errors import InputError
from raytt.task.task import Task
from raytt.training.first_pass import FirstPass, first_pass, listed
from raytt.training.model import prepare_for_training
from raytt.training.objective import Objective

X, Y = torch.randn(6, 3, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 1, 2, 0, 1, 2])


def passed(net: nn.Module, loss: Any = None, batch: Any = (X, Y), **options: Any) -> FirstPass:
    def cross_entropy(model: nn.Module, batch: Any) -> Tensor:
        return nn.functional.cross_entropy(model(batch[0]), batch[1])

    task = Task(name="t", model=lambda: net, data=(X, Y), mode="train", batch_loss=loss or cross_entropy, **options)
    return first_pass(prepare_for_training(task), Objective(task), batch, task="t")


def test_a_plain_network_has_nothing_to_say() -> None:
    net = nn.Linear(3, 3)
    found = passed(net)
    assert found.loss == pytest.approx(nn.functional.cross_entropy(net(X), Y).item())
    assert (found.notes, net.weight.grad) == ((), None)


def test_parameters_without_gradient_are_named() -> None:
    class Partly(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone, self.head, self.pooler = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                x = self.backbone(x)
            return self.head(x)

    found = passed(Partly())
    assert found.without_gradient == ("backbone.weight", "backbone.bias", "pooler.weight", "pooler.bias")
    (note,) = found.notes
    assert note.startswith(
        "4 trainable parameters get no gradient (backbone.weight, backbone.bias, pooler.weight and 1"
    )


@pytest.mark.parametrize("way", ["data", "renormalized"])
def test_a_forward_pass_that_changes_weights_is_told(way: str) -> None:
    class Capped(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            norms = self.weight.data.norm(dim=1, keepdim=True)
            self.weight.data = self.weight.data * (0.1 / norms).clamp(max=1.0)
            return super().forward(x)

    if way == "data":
        found = passed(Capped(3, 3))
        assert found.changed == ("weight",)
    else:
        net = nn.Sequential(nn.Embedding(5, 4, max_norm=0.1), nn.Flatten(), nn.Linear(8, 3))
        found = passed(net, batch=(torch.randint(0, 5, (6, 2)), Y))
        assert found.changed == ("0.weight",)
    assert "The forward pass itself changes 1 parameter" in found.notes[0]


@pytest.mark.parametrize(
    ("net", "batch", "message"),
    [
        (nn.Linear(3, 3), (X.double(), Y), r"RuntimeError: .*Double.*\(.*, line \d+, in .*\)\. .*\.float\(\)"),
        (nn.Linear(3, 2), (X, Y), r"IndexError: Target 2 is out of bounds.*Number labels from 0"),
        (nn.Linear(4, 3), (X, Y), r"shapes cannot be multiplied.*Look at the shapes"),
        (nn.Linear(3, 3), (torch.full((6, 3), torch.nan), Y), r"loss of a first minibatch of task 't' is nan"),
        (nn.Linear(3, 3), (X,), r"IndexError: tuple index out of range .*by hand"),
    ],
)
def test_what_goes_wrong_is_explained(net: nn.Module, batch: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        passed(net, batch=batch)


def test_a_loss_without_a_way_back() -> None:
    with pytest.raises(InputError, match=r"gradient of a first minibatch.*torch\.no_grad"):
        passed(nn.Linear(3, 3), loss=lambda model, batch: model(batch[0]).sum().detach())

    class Unused(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return x.clone().requires_grad_()

    with pytest.raises(
        InputError, match=r"No trainable parameter of task 't' gets a gradient \(such as weight, bias\)"
    ):
        passed(Unused(3, 3))


def test_more_than_one_number_is_refused() -> None:
    with pytest.raises(InputError, match=r"gave something of shape \(6, 3\), not one number"):
        passed(nn.Linear(3, 3), loss=lambda model, batch: model(batch[0]))


def test_long_lists_are_cut() -> None:
    assert listed(("a", "b")) == "a, b"
    assert listed(("a", "b", "c", "d", "e")) == "a, b, c and 2 more"
