from __future__ import annotations

import pytest
from torch.optim.lr_scheduler import ConstantLR

from raytt.task.schedules.constant import Constant
from tests.task.schedules.schedulers import assert_equal_to_torch


@pytest.mark.parametrize("warmup", [0, 1, 7])
def test_equals_torch(warmup: int) -> None:
    assert_equal_to_torch(Constant(), lambda o, span: ConstantLR(o, factor=1.0), warmup=warmup)


def test_words() -> None:
    assert Constant().describe() == "constant"
