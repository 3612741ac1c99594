from __future__ import annotations

import pytest
from torch.optim.lr_scheduler import PolynomialLR

from raytt.errors import InputError
from raytt.task.schedules.polynomial import Polynomial
from tests.task.schedules.schedulers import assert_equal_to_torch, assert_equal_to_transformers


@pytest.mark.parametrize("warmup", [0, 7])
@pytest.mark.parametrize(("power", "min_lr"), [(1.0, 0.0), (2.0, 0.01), (0.5, 1e-7), (3.7, 0.1)])
def test_equals_transformers(power: float, min_lr: float, warmup: int) -> None:
    optimization = pytest.importorskip("transformers.optimization")
    assert_equal_to_transformers(
        Polynomial(power=power, min_lr=min_lr),
        lambda o, warm, steps: optimization.get_polynomial_decay_schedule_with_warmup(
            o, warm, steps, lr_end=min_lr, power=power
        ),
        warmup=warmup,
    )


@pytest.mark.parametrize("warmup", [0, 1, 7])
@pytest.mark.parametrize("power", [1.0, 2.0])
def test_equals_torch(power: float, warmup: int) -> None:
    assert_equal_to_torch(
        Polynomial(power=power), lambda o, span: PolynomialLR(o, total_iters=span, power=power), warmup=warmup
    )


def test_power_zero_is_refused() -> None:
    with pytest.raises(InputError, match=r"power is 0, outside \(0, inf\)"):
        Polynomial(power=0)


def test_words() -> None:
    assert Polynomial(power=2).describe() == "polynomial^2"
    assert Polynomial(power=0.5, min_lr=1e-5).describe() == "polynomial^0.5 to 1e-05"
