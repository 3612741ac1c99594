"""What a loss leaves in a run's facts: the text or source that runs made earlier hold."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from raytt.store.fingerprint import describe, hash_nest, task_facts
from raytt.task.losses import CrossEntropy, CustomLoss, SquaredError
from raytt.task.parameter_groups import ParameterGroup
from raytt.task.task import Task


def absolute(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).abs().sum(dim=1)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("cross_entropy", "CrossEntropy(label_smoothing=0.0)"),
        (CrossEntropy(label_smoothing=0.1), "CrossEntropy(label_smoothing=0.1)"),
        ("squared_error", "SquaredError()"),
        (SquaredError(), "SquaredError()"),
        (absolute, describe(absolute)),
        (CustomLoss(function=absolute), describe(absolute)),
    ],
)
def test_the_loss_is_told_by_its_settings_or_its_source(loss: Any, expected: str) -> None:
    facts = task_facts(Task(mode="eval", name="t", model=nn.Identity, data=(torch.zeros(1), torch.zeros(1)), loss=loss))
    assert facts["loss"] == expected


def test_an_edited_function_is_another() -> None:
    shown = describe(absolute)
    assert shown is not None
    assert shown.startswith("tests.store.test_fingerprint.absolute #")
    assert shown.partition("#")[2] != str(describe(lambda outputs, targets: outputs)).partition("#")[2]


def test_what_came_later_is_told_only_where_it_is_set() -> None:
    plain = Task(name="t", model=nn.Identity, data=None, mode="train")
    names = {"task", "loss", "trainable", "forward", "collate", "mode", "reestimate_norms"}
    assert set(task_facts(plain)) == names
    groups = [ParameterGroup(patterns=["a", "b"], lr_scale=2.0)]
    changed: list[dict[str, Any]] = [
        {"parameter_groups": groups},
        {"decay_norms_and_biases": False},
        {"precision": "bfloat16"},
        {"ema_decay": 0.99},
        {"sample_weights": [1.0, 2.0]},
        {"last_batch": "drop"},
        {"mix": absolute},
    ]
    for change in changed:
        assert set(task_facts(replace(plain, **change))) == names | set(change)
    other = [replace(groups[0], weight_decay=0.1)]
    assert task_facts(replace(plain, parameter_groups=groups)) != task_facts(replace(plain, parameter_groups=other))


def test_a_batch_of_any_form_is_told_by_values_names_and_text() -> None:
    batch = {"ids": torch.arange(3), "text": ["a", "b"], "more": (torch.zeros(2), 4)}
    same = {"more": (torch.zeros(2), 4), "text": ["a", "b"], "ids": torch.arange(3)}
    assert hash_nest(batch) == hash_nest(same)
    for other in (
        {**batch, "ids": torch.arange(3) + 1},
        {**batch, "ids": torch.arange(3.0)},
        {**batch, "text": ["a", "c"]},
        {**batch, "more": (torch.zeros(2), 5)},
        {**batch, "extra": np.zeros(1)},
    ):
        assert hash_nest(other) != hash_nest(batch)


def test_a_batch_loss_is_told_by_its_source() -> None:
    def total(model: nn.Module, batch: Any) -> Tensor:
        return model(batch).sum()

    task = Task(name="t", model=nn.Identity, data=[], mode="train", batch_loss=total)
    facts = task_facts(task)
    assert (facts["batch_loss"], facts["loss"]) == (describe(total), None)
