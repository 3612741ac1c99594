"""Targets that no training could meet are refused, those that one could are not."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from raytt.errors import InputError
from raytt.task.losses import CrossEntropy, CustomLoss, SquaredError
from raytt.task.target import Target
from raytt.task.target_check import check_sign, check_target


def one_per_sample(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return (outputs - targets).abs().sum(dim=1)


@pytest.mark.parametrize(
    ("target", "settings", "message"),
    [
        ("val_loss=1", {}, "needs validation data. Give Task a `validation`"),
        ("val_accuracy=0.5", {}, "needs validation data"),
        ("accuracy=0.5", {"loss": SquaredError()}, "correct answer, and SquaredError has none"),
        (
            "val_accuracy=0.5",
            {"loss": CustomLoss(function=one_per_sample), "has_validation": True},
            "CustomLoss has none",
        ),
        (0.1, {"initial_loss": 0.0}, "relative to the loss, which is 0 at"),
        ("plateau=0.1", {"initial_loss": -1.0}, "relative to the loss, which is -1 at"),
        (
            0.1,
            {"loss": CrossEntropy(label_smoothing=0.1), "num_outputs": 10, "initial_loss": 2.5},
            r"cannot fall below 0\.5",
        ),
        (
            "loss=0.5",
            {"loss": CrossEntropy(label_smoothing=0.1), "num_outputs": 10},
            r"asks for a loss of 0\.5, but over 10 outputs CrossEntropy\(label_smoothing=0\.1\) cannot",
        ),
    ],
)
def test_unreachable_targets(target: str | float, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_target(Target.parse(target), **{"loss": CrossEntropy(), "has_validation": False, **settings})


def test_reachable_targets() -> None:
    smooth = CrossEntropy(label_smoothing=0.1)
    check_target(Target.parse(0.1), loss=CrossEntropy(), has_validation=False, num_outputs=10, initial_loss=2.3)
    check_target(Target.parse("accuracy=0.9"), loss=smooth, has_validation=False, num_outputs=10, initial_loss=2.3)
    check_target(Target.parse("val_loss=0.9"), loss=smooth, has_validation=True, num_outputs=10, initial_loss=2.3)
    check_target(Target.parse(0.5), loss=SquaredError(), has_validation=False, num_outputs=1, initial_loss=0.4)
    check_target(Target.parse("loss=0.2"), loss=smooth, has_validation=False)


@pytest.mark.parametrize(("smoothing", "classes"), [(0.1, 10), (0.3, 2), (0.5, 100)])
def test_floor_of_label_smoothing_is_what_minimisation_finds(smoothing: float, classes: int) -> None:
    loss = CrossEntropy(label_smoothing=smoothing)
    # Raising the right logit by a passes through the optimum p = q, at e^a = q / (s/C).
    right = torch.linspace(0, 12, 120_001, dtype=torch.float64)
    outputs = torch.zeros(len(right), classes, dtype=torch.float64)
    outputs[:, 0] = right
    lowest = float(loss.value(outputs, torch.zeros(len(right), dtype=torch.int64)).min())

    def refused(value: float) -> bool:
        try:
            check_target(Target(kind="loss", value=value), loss=loss, has_validation=False, num_outputs=classes)
        except InputError:
            return True
        return False

    # The grid of spacing 1e-4 misses the minimum by less than 1e-9.
    assert refused(lowest - 1e-8)
    assert not refused(lowest + 1e-8)


def test_shares_of_a_loss_that_may_be_negative_are_refused() -> None:
    with pytest.raises(
        InputError, match=r"loss_ratio=0\.1 is relative to the loss, which may be negative \(.* -0\.3.*loss=-1"
    ):
        check_sign(Target.parse(0.1), -0.3)
    check_sign(Target.parse("loss=-1"), -0.3)
    check_sign(Target.parse(0.1), 0.0)


def test_no_absolute_target_lies_below_a_known_bound() -> None:
    with pytest.raises(InputError, match=r"asks for a loss of -1, but .*CrossEntropy.* cannot fall below 0"):
        check_target(Target.parse("loss=-1"), loss=CrossEntropy(), has_validation=False)
    check_target(Target.parse("loss=-1"), loss=None, has_validation=False)
