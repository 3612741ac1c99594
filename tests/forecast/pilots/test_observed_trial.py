from __future__ import annotations

import math
from typing import Any

import pytest

from raytt.errors import InputError
from raytt.forecast.pilots.observed_trial import ObservedTrial


def test_values_that_were_not_reported_are_left_out() -> None:
    trial = ObservedTrial(
        config={"lr": 0.1},
        steps=[10, 20, 30],
        curves={"val_loss": [2.0, math.nan, 1.0], "train_loss": [3.0, math.inf, math.nan]},
    )
    assert [list(x) for x in trial.reports("val_loss")] == [[10.0, 30.0], [2.0, 1.0]]
    # A loss that became infinite was reported.
    assert [list(x) for x in trial.reports("train_loss")] == [[10.0, 20.0], [3.0, math.inf]]
    assert [list(x) for x in trial.reports("val_accuracy")] == [[], []]


@pytest.mark.parametrize(
    ("steps", "curves", "message"),
    [
        ([10, 10], {"val_loss": [1.0, 1.0]}, r"steps of an observed trial are \[10, 10\]"),
        ([-1, 10], {"val_loss": [1.0, 1.0]}, "increasing numbers from 0"),
        ([1, 2], {"val_loss": [1.0]}, "has 2 steps and 1 values of val_loss"),
        ([1, 2], {"loss": [1.0, 1.0]}, "Unknown curve 'loss'.*Known: train_loss"),
    ],
)
def test_refuses(steps: Any, curves: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ObservedTrial(config={}, steps=steps, curves=curves)
