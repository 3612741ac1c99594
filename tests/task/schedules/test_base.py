from __future__ import annotations

import pytest

from raytt.errors import InputError
from raytt.task.schedules import SCHEDULES


@pytest.mark.parametrize("name", ["cosine", "linear", "polynomial"])
def test_min_lr_above_the_peak_is_refused_once_the_peak_is_known(name: str) -> None:
    schedule = SCHEDULES.get(name).from_settings({"min_lr": 0.2})
    schedule.check(0.2)
    with pytest.raises(InputError, match=r"min_lr is 0\.2, above lr, which is 0\.1\. Give a min_lr of at most lr"):
        schedule.check(0.1)


def test_missing_hyperparameters_are_asked_for_by_name() -> None:
    with pytest.raises(InputError, match=r"Schedule 'exponential' has no 'gamma'\. Give gamma"):
        SCHEDULES.get("exponential").from_settings({})


def test_the_nearest_hyperparameter_is_offered() -> None:
    with pytest.raises(InputError, match=r"'min_rl' of schedule 'cosine'\. Did you mean 'min_lr'\? Known: min_lr"):
        SCHEDULES.get("cosine").from_settings({"min_rl": 0.5})
    with pytest.raises(InputError, match="It takes none: leave it out"):
        SCHEDULES.get("constant").from_settings({"min_lr": 0.5})


def test_an_unknown_schedule_is_refused() -> None:
    with pytest.raises(InputError, match=r"Unknown schedule 'cosin'\. Did you mean 'cosine'"):
        SCHEDULES.get("cosin")
