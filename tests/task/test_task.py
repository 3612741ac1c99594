"""Tasks travel to workers whole."""

from __future__ import annotations

import dataclasses

import cloudpickle
import pytest
import torch
from torch import nn

from raytt.errors import InputError
from raytt.task.task import Task
from raytt.training.datasets import load_batch, open_dataset
from raytt.training.model import prepare_model, weights_fingerprint


def make_task() -> Task:
    scale = 3.0

    def factory() -> nn.Module:
        net = nn.Linear(2, 2)
        nn.init.constant_(net.weight, scale)
        nn.init.zeros_(net.bias)
        return net

    return Task(
        mode="eval",
        name="t",
        model=factory,
        data=lambda: (torch.ones(4, 2) * scale, torch.zeros(4, dtype=torch.int64)),
        forward=lambda net, x: net(x) * scale,
        loss=lambda outputs, targets: outputs.sum(dim=1) * scale,
    )


def test_a_task_of_local_functions_travels() -> None:
    task = make_task()
    copy: Task = cloudpickle.loads(cloudpickle.dumps(task))
    one, two = prepare_model(task), prepare_model(copy)
    assert weights_fingerprint(one.module) == weights_fingerprint(two.module)
    inputs, targets = load_batch(copy, open_dataset(copy.data, copy), [1, 2])
    outputs = two.forward(two.module, inputs)
    # 2 inputs · 3 (data) · 3 (weight) · 3 (forward).
    assert outputs.tolist() == [[54.0, 54.0]] * 2
    assert callable(copy.loss)
    assert copy.loss(outputs, targets).tolist() == [324.0] * 2


def test_a_task_is_frozen_and_replaceable() -> None:
    task = make_task()
    with pytest.raises(dataclasses.FrozenInstanceError):
        task.name = "u"  # type: ignore[misc]
    assert dataclasses.replace(task, trainable=["weight"]).trainable == ["weight"]


def test_defaults_train_everything_in_eval_mode_with_cross_entropy() -> None:
    task = Task(mode="eval", name="t", model=nn.Identity, data=None)
    assert (task.loss, tuple(task.trainable), task.mode, task.reestimate_norms) == (
        "cross_entropy",
        ("*",),
        "eval",
        False,
    )


@pytest.mark.parametrize("name", ["", "a b", "../up", ".hidden", "ü", "a/b"])
def test_names_that_make_no_directory_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"Task\.name is .*letters, digits"):
        Task(mode="eval", name=name, model=nn.Identity, data=None)


def test_a_batch_loss_needs_training_mode() -> None:
    with pytest.raises(InputError, match=r"'t' has a batch_loss and mode='eval'.*Use mode='train', or give `loss`"):
        dataclasses.replace(make_task(), mode="eval", batch_loss=lambda model, batch: model(batch).mean())
