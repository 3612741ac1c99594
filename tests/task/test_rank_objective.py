"""Objectives of rankings."""

from __future__ import annotations

from typing import get_args

import pytest

from raytt.errors import InputError
from raytt.settings.ranking import Objective
from raytt.task.rank_objective import OBJECTIVES, check_objective, usual_objective


def test_settings_name_all_of_them() -> None:
    assert get_args(Objective) == OBJECTIVES.names()


def test_better_is_told_by_the_name() -> None:
    assert OBJECTIVES.get("val_accuracy").sign == -1.0
    assert OBJECTIVES.get("val_loss").sign == OBJECTIVES.get("loss").sign == 1.0


def test_the_first_that_is_known_is_the_usual_one() -> None:
    assert usual_objective(["loss", "val_loss"]) == "val_loss"
    assert usual_objective([]) is None


@pytest.mark.parametrize(
    ("name", "mode", "validation", "counts", "says"),
    [
        ("val_acuracy", "train", True, True, "Did you mean 'val_accuracy'"),
        ("loss", "eval", True, True, "mode='eval'"),
        ("val_loss", "train", False, True, "validation data"),
        ("val_accuracy", "train", True, False, "correct answer"),
    ],
)
def test_what_cannot_be_ranked_by_is_refused(name: str, mode: str, validation: bool, counts: bool, says: str) -> None:
    with pytest.raises(InputError, match=says):
        check_objective(name, mode=mode, has_validation=validation, counts_correct=counts)
    assert check_objective("loss", mode="train", has_validation=False, counts_correct=False).curve == "train_loss"
