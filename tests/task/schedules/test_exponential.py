from __future__ import annotations

import pytest
from torch.optim.lr_scheduler import ExponentialLR

from raytt.errors import InputError
from raytt.task.schedules.exponential import Exponential
from tests.task.schedules.schedulers import assert_equal_to_torch


@pytest.mark.parametrize("warmup", [0, 1, 7])
@pytest.mark.parametrize("gamma", [0.999, 0.8, 1.0])
def test_equals_torch(gamma: float, warmup: int) -> None:
    assert_equal_to_torch(Exponential(gamma=gamma), lambda o, span: ExponentialLR(o, gamma=gamma), warmup=warmup)


def test_growth_is_refused() -> None:
    with pytest.raises(InputError, match=r"gamma is 1\.01, outside \[0, 1\]"):
        Exponential(gamma=1.01)


def test_words() -> None:
    assert Exponential(gamma=0.9995).describe() == "exponential ×0.9995"
