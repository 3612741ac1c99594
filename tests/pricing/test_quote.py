from __future__ import annotations

import math

import pytest

from raytt.errors import InputError
from raytt.pricing.quote import Quote, check_price, quote


def test_seconds_and_dollars() -> None:
    found = quote(1800, seconds_per_step=0.5, usd_per_hour=4.0)
    assert found == Quote(seconds=900.0, low=None, high=None, usd=1.0)


def test_no_price_no_dollars() -> None:
    assert quote(10, seconds_per_step=1.0).usd is None
    assert quote(10, seconds_per_step=1.0, usd_per_hour=0.0).usd == 0.0


def test_interval_of_steps_alone_is_scaled() -> None:
    found = quote(100, seconds_per_step=2.0, steps_interval=(80, 150))
    assert found.low == pytest.approx(160.0)
    assert found.high == pytest.approx(300.0)


def test_independent_intervals_add_in_squares_of_logarithms() -> None:
    found = quote(100, seconds_per_step=2.0, steps_interval=(50, 200), seconds_per_step_interval=(1.0, 3.0))
    assert found.low == pytest.approx(200 / math.exp(math.sqrt(math.log(2) ** 2 + math.log(2) ** 2)))
    assert found.high == pytest.approx(200 * math.exp(math.sqrt(math.log(2) ** 2 + math.log(1.5) ** 2)))


def test_open_and_unknown_ends_stay_so() -> None:
    assert (
        quote(100, seconds_per_step=2.0, steps_interval=(50, None), seconds_per_step_interval=(1.0, 3.0)).high is None
    )
    assert quote(100, seconds_per_step=2.0, seconds_per_step_interval=(1.0, 3.0)).low is None


def test_zero_steps_are_free() -> None:
    found = quote(
        0, seconds_per_step=2.0, steps_interval=(0, 3), seconds_per_step_interval=(1.0, 3.0), usd_per_hour=1.0
    )
    assert found == Quote(seconds=0.0, low=0.0, high=9.0, usd=0.0)


def test_interval_down_to_zero_steps() -> None:
    assert quote(10, seconds_per_step=2.0, steps_interval=(0, 20)).low == 0.0
    assert quote(10, seconds_per_step=2.0, steps_interval=(5e-324, 20)).low == pytest.approx(0.0, abs=1e-300)


@pytest.mark.parametrize("price", [-1.0, float("nan"), float("inf"), "1", True])
def test_prices_that_make_no_sense(price: float) -> None:
    with pytest.raises(InputError, match=r"usd_per_hour is .*; a price must be a finite number of at least 0"):
        check_price(price)


def test_prices_that_do() -> None:
    for price in (None, 0, 0.0, 3, 2.5):
        check_price(price)


@pytest.mark.parametrize(
    ("steps", "seconds", "message"),
    [
        (-1.0, 1.0, r"steps is -1\.0"),
        (float("inf"), 1.0, "steps is inf"),
        (1.0, 0.0, r"seconds_per_step is 0\.0"),
        (1.0, float("nan"), "seconds_per_step is nan"),
    ],
)
def test_amounts_that_make_no_sense(steps: float, seconds: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        quote(steps, seconds_per_step=seconds)


def test_quotes_that_contradict_themselves() -> None:
    for numbers in ({"seconds": 1.0, "low": 2.0}, {"seconds": -1.0}, {"seconds": float("inf")}):
        with pytest.raises(ValueError, match="interval"):
            Quote(**numbers)
    with pytest.raises(ValueError, match="price"):
        Quote(seconds=1.0, usd=float("nan"))
