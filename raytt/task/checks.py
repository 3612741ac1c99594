"""Checks of single hyperparameters: each returns the value in its plain form or raises with the bound it violates."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from raytt.errors import InputError


def plain(value: Any) -> Any:
    """The Python scalar of a numpy scalar, as search spaces draw them; anything else as it is."""
    return value.item() if isinstance(value, np.generic) else value


def within(name: str, value: Any, low: float, high: float, *, open_low: bool = False, open_high: bool = False) -> float:
    """A finite number between two bounds, as a float; −0.0 becomes 0.0, so that equal settings are equal.

    Raises:
        InputError: If it is not a number, or outside the bounds, which belong to the interval unless they are open.
    """
    value = plain(value)
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    inside = number and (value > low if open_low else value >= low) and (value < high if open_high else value <= high)
    if not inside:
        bounds = f"{'(' if open_low else '['}{low:g}, {high:g}{')' if open_high or math.isinf(high) else ']'}"
        raise InputError(f"{name} is {value!r}, outside {bounds}.", f"Give a number in {bounds}.")
    return float(value) + 0.0


def whole(name: str, value: Any, low: int) -> int:
    """A whole number of at least ``low``, as an int; 32.0 is one too, as search spaces draw them (``quniform``).

    Raises:
        InputError: If it is not a whole number, or below ``low``.
    """
    value = plain(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < low:
        raise InputError(
            f"{name} is {value!r}; it must be a whole number of at least {low}.", f"Give an integer ≥ {low}."
        )
    return value


def flag(name: str, value: Any) -> bool:
    """A truth value.

    Raises:
        InputError: If it is neither True nor False.
    """
    value = plain(value)
    if not isinstance(value, bool):
        raise InputError(f"{name} is {value!r}; it must be True or False.", "Give True or False.")
    return value


def one_of(name: str, value: Any, known: Iterable[str]) -> str:
    """One of the known words.

    Raises:
        InputError: If it is none of them; the message says the nearest one.
    """
    value, known = plain(value), tuple(known)
    if not isinstance(value, str) or value not in known:
        near = difflib.get_close_matches(str(value).lower(), known, n=1)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        raise InputError(f"Unknown {name} {value!r}.", f"{hint}Known: {', '.join(known)}.")
    return str(value)
