from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from raytt.errors import InputError
from raytt.task.checks import flag, one_of, plain, whole, within


def test_numpy_scalars_become_plain() -> None:
    assert type(plain(np.float32(0.5))) is float
    assert type(plain(np.int64(3))) is int
    assert plain("x") == "x"


@pytest.mark.parametrize("value", [1, 1.0, np.float64(1.0), np.int32(1)])
def test_a_number_within_is_a_float(value: Any) -> None:
    found = within("x", value, 0.0, 1.0)
    assert type(found) is float
    assert found == 1.0


def test_minus_zero_is_zero() -> None:
    assert math.copysign(1.0, within("x", -0.0, 0.0, 1.0)) == 1.0


@pytest.mark.parametrize(
    ("value", "kwargs", "message"),
    [
        (1.5, {}, r"x is 1\.5, outside \[0, 1\]\. Give a number in \[0, 1\]\."),
        (-0.1, {}, r"outside \[0, 1\]"),
        (0.0, {"open_low": True}, r"outside \(0, 1\]"),
        (1.0, {"open_high": True}, r"outside \[0, 1\)"),
        (float("nan"), {}, "x is nan"),
        (True, {}, "x is True"),
        ("0.5", {}, "x is '0.5'"),
        (None, {}, "x is None"),
    ],
)
def test_what_is_not_within_is_refused(value: Any, kwargs: dict[str, bool], message: str) -> None:
    with pytest.raises(InputError, match=message):
        within("x", value, 0.0, 1.0, **kwargs)


def test_infinity_is_outside_an_unbounded_interval() -> None:
    with pytest.raises(InputError, match=r"x is inf, outside \[0, inf\)"):
        within("x", math.inf, 0.0, math.inf)


@pytest.mark.parametrize("value", [3, 3.0, np.int64(3), np.float64(3.0)])
def test_a_whole_number_is_an_int(value: Any) -> None:
    found = whole("n", value, 3)
    assert type(found) is int
    assert found == 3


@pytest.mark.parametrize("value", [2, 3.5, True, "3", None, math.nan, math.inf])
def test_what_is_not_whole_or_too_small_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match=r"n is .*; it must be a whole number of at least 3"):
        whole("n", value, 3)


def test_flags_are_true_or_false() -> None:
    assert flag("f", np.bool_(True)) is True
    with pytest.raises(InputError, match="f is 1; it must be True or False"):
        flag("f", 1)


def test_words_are_known_ones() -> None:
    assert one_of("shape", "cos", ("cos", "linear")) == "cos"
    with pytest.raises(InputError, match=r"Unknown shape 'Cosine'\. Did you mean 'cos'\? Known: cos, linear\."):
        one_of("shape", "Cosine", ("cos", "linear"))
    with pytest.raises(InputError, match="Unknown shape 3"):
        one_of("shape", 3, ("cos", "linear"))
