from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from raytt.errors import InputError
from raytt.task.target import Target


@pytest.mark.parametrize(
    ("text", "target"),
    [
        (0.1, Target(kind="loss_ratio", value=0.1)),
        (np.float32(0.5), Target(kind="loss_ratio", value=0.5)),
        ("0.05", Target(kind="loss_ratio", value=0.05)),
        (" loss = 0.3 ", Target(kind="loss", value=0.3)),
        ("accuracy=1", Target(kind="accuracy", value=1.0)),
        ("val_loss=2.5", Target(kind="val_loss", value=2.5)),
        ("val_accuracy=0.9", Target(kind="val_accuracy", value=0.9)),
        ("plateau=0.01@3", Target(kind="plateau", value=0.01, patience=3.0)),
        ("plateau=0.01", Target(kind="plateau", value=0.01, patience=1.0)),
    ],
)
def test_parse(text: Any, target: Target) -> None:
    assert Target.parse(text) == target
    assert Target.parse(str(target)) == target
    assert Target.parse(target) is target


def test_text_keeps_every_digit() -> None:
    target = Target(kind="loss", value=1 / 3)
    assert Target.parse(str(target)) == target


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("soon", "Cannot read target 'soon'"),
        ("loss=low", "Cannot read target 'loss=low'"),
        ("recall=0.9", "Unknown target 'recall'. Use one of: loss_ratio"),
        (None, "Cannot read target None"),
        ({"loss": 1}, "Cannot read target"),
        (1.0, r"loss_ratio is 1\.0, but it must lie in \(0, 1\)"),
        (0, r"loss_ratio is 0\.0"),
        (float("nan"), "loss_ratio is nan"),
        ("loss=-1", r"loss is -1\.0, but it must lie in \(0, inf\)"),
        ("loss=inf", "loss is inf"),
        ("accuracy=1.01", r"accuracy is 1\.01, but it must lie in \(0, 1\]"),
        ("plateau=0.1@0", r"patience is 0\.0 epochs"),
    ],
)
def test_targets_that_make_no_sense(text: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Target.parse(text)


def test_only_validation_targets_need_validation() -> None:
    needing = {
        kind
        for kind in ("loss", "accuracy", "val_loss", "val_accuracy")
        if Target(kind=kind, value=0.5).needs_validation
    }
    assert needing == {"val_loss", "val_accuracy"}


@pytest.mark.parametrize(
    ("target", "reached"),
    [
        ("0.5", [False, True, True]),
        ("loss=1.5", [False, False, True]),
        ("accuracy=0.5", [False, True, True]),
        ("val_loss=2", [False, True, True]),
        ("val_accuracy=0.7", [False, False, True]),
    ],
)
def test_reached_includes_the_threshold(target: str, reached: list[bool]) -> None:
    found = Target.parse(target).reached(
        train_loss=np.array([4.0, 2.0, 1.0]),
        initial_loss=np.array([4.0]),
        train_accuracy=np.array([0.1, 0.5, 0.9]),
        val_loss=np.array([5.0, 2.0, 1.5]),
        val_accuracy=np.array([0.1, 0.6, 0.7]),
    )
    assert found.tolist() == reached


@pytest.mark.parametrize(("target", "missing"), [("val_loss=1", "validation data"), ("accuracy=0.5", "accuracies")])
def test_reached_without_the_curve(target: str, missing: str) -> None:
    one = np.ones(1)
    with pytest.raises(InputError, match=f"there are no {missing}"):
        Target.parse(target).reached(
            train_loss=one, initial_loss=one, train_accuracy=None, val_loss=None, val_accuracy=None
        )
