from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from torch.optim.lr_scheduler import StepLR

from raytt.errors import InputError
from raytt.task.schedules.step import Step
from tests.task.schedules.schedulers import assert_equal_to_torch


@pytest.mark.parametrize("warmup", [0, 1, 7])
@pytest.mark.parametrize(("step_size", "gamma"), [(12, 0.3), (1, 0.9), (200, 0.1), (5, 1.0)])
def test_equals_torch(step_size: int, gamma: float, warmup: int) -> None:
    assert_equal_to_torch(
        Step(step_size=step_size, gamma=gamma),
        lambda o, span: StepLR(o, step_size=step_size, gamma=gamma),
        warmup=warmup,
    )


def test_gamma_zero_leaves_the_steps_before_the_first_decay() -> None:
    t = np.arange(6, dtype=np.float64)
    np.testing.assert_array_equal(Step(step_size=4, gamma=0.0).after_warmup(t, 6, 0.1), [1, 1, 1, 1, 0, 0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"step_size": 0}, "step_size is 0; it must be a whole number of at least 1"),
        ({"step_size": 2.5}, r"step_size is 2\.5"),
        ({"step_size": 3, "gamma": 1.5}, r"gamma is 1\.5, outside \[0, 1\]"),
    ],
)
def test_bad_hyperparameters_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Step(**settings)


def test_words() -> None:
    assert Step(step_size=50).describe() == "step 50×0.1"
    assert Step(step_size=50, gamma=0.12345).describe() == "step 50×0.123"
