"""What a loss leaves in a run's facts: the text or source that runs made earlier hold."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from raytt.store.fingerprint import describe, task_facts
from raytt.task.losses import CrossEntropy, CustomLoss, SquaredError
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
    facts = task_facts(Task(name="t", model=nn.Identity, data=(torch.zeros(1), torch.zeros(1)), loss=loss))
    assert facts["loss"] == expected


def test_an_edited_function_is_another() -> None:
    shown = describe(absolute)
    assert shown is not None
    assert shown.startswith("tests.store.test_fingerprint.absolute #")
    assert shown.partition("#")[2] != str(describe(lambda outputs, targets: outputs)).partition("#")[2]
