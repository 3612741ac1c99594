from __future__ import annotations

import numpy as np
import pytest

from raytt.errors import InputError
from raytt.task.schedules.inverse_sqrt import InverseSqrt
from tests.task.schedules.schedulers import assert_equal_to_transformers


@pytest.mark.parametrize("warmup", [0, 1, 7])
@pytest.mark.parametrize("timescale", [3, 40, 10_000])
def test_equals_transformers(timescale: int, warmup: int) -> None:
    optimization = pytest.importorskip("transformers.optimization")
    assert_equal_to_transformers(
        InverseSqrt(timescale=timescale),
        lambda o, warm, steps: optimization.get_inverse_sqrt_schedule(o, warm, timescale=timescale),
        warmup=warmup,
    )


@pytest.mark.parametrize(("warmup", "timescale"), [(7, 7), (0, 10_000)])
def test_these_timescales_are_the_default_of_transformers(warmup: int, timescale: int) -> None:
    optimization = pytest.importorskip("transformers.optimization")
    assert_equal_to_transformers(
        InverseSqrt(timescale=timescale),
        lambda o, warm, steps: optimization.get_inverse_sqrt_schedule(o, warm),
        warmup=warmup,
    )


def test_the_budget_does_not_matter() -> None:
    t = np.arange(50, dtype=np.float64)
    schedule = InverseSqrt(timescale=9)
    np.testing.assert_array_equal(schedule.after_warmup(t, 50, 0.1), schedule.after_warmup(t, 5000, 0.1))


def test_timescale_zero_is_refused() -> None:
    with pytest.raises(InputError, match=r"timescale is 0, outside \(0, inf\)"):
        InverseSqrt(timescale=0)


def test_words() -> None:
    assert InverseSqrt(timescale=10_000).describe() == "inverse_sqrt 10000"
