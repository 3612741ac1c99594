from __future__ import annotations

import numpy as np
import pytest
from torch.optim.lr_scheduler import LinearLR

from raytt.task.schedules.linear import Linear
from tests.task.schedules.schedulers import LR, assert_equal_to_torch, assert_equal_to_transformers


@pytest.mark.parametrize("warmup", [0, 1, 7])
@pytest.mark.parametrize("min_lr", [0.0, 0.01])
def test_equals_torch(min_lr: float, warmup: int) -> None:
    assert_equal_to_torch(
        Linear(min_lr=min_lr),
        lambda o, span: LinearLR(o, start_factor=1.0, end_factor=min_lr / LR, total_iters=span),
        warmup=warmup,
    )


@pytest.mark.parametrize("warmup", [0, 7])
def test_equals_transformers(warmup: int) -> None:
    optimization = pytest.importorskip("transformers.optimization")
    assert_equal_to_transformers(Linear(), optimization.get_linear_schedule_with_warmup, warmup=warmup)


def test_without_min_lr_it_is_the_plain_formula_to_the_last_bit() -> None:
    t = np.arange(997, dtype=np.float64)
    np.testing.assert_array_equal(Linear().after_warmup(t, 997, 3e-4), 1.0 - t / 997)


def test_words() -> None:
    assert Linear().describe() == "linear"
    assert Linear(min_lr=0.00123).describe() == "linear to 0.00123"
