"""What a number of steps takes and costs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from raytt.errors import InputError

_LARGEST_EXPONENT = 700.0
"""Above it exp overflows."""


@dataclass(frozen=True, kw_only=True)
class Quote:
    """Time and money for one training run."""

    seconds: float
    """Wall-clock time, seconds."""
    low: float | None = None
    """Lower end of its interval, seconds; None where not known."""
    high: float | None = None
    """Upper end of its interval, seconds; None where not known, or unbounded."""
    usd: float | None = None
    """Price of ``seconds``, US dollars; None without a price per hour."""

    def __post_init__(self) -> None:
        numbers = [n for n in (self.low, self.seconds, self.high) if n is not None]
        if numbers != sorted(numbers) or not all(math.isfinite(n) and n >= 0.0 for n in numbers):
            raise ValueError(f"{self.seconds} s with interval {self.low}…{self.high}")
        if self.usd is not None and not (math.isfinite(self.usd) and self.usd >= 0.0):
            raise ValueError(f"a price of {self.usd}")


def check_price(usd_per_hour: float | None) -> None:
    """Raise `InputError` unless the price is None or a finite number of dollars, at least 0."""
    number = isinstance(usd_per_hour, int | float) and not isinstance(usd_per_hour, bool)
    if usd_per_hour is not None and not (number and math.isfinite(usd_per_hour) and usd_per_hour >= 0.0):
        raise InputError(
            f"usd_per_hour is {usd_per_hour!r}; a price must be a finite number of at least 0.",
            "Give what one hour of the training machine costs in US dollars, or leave the price out.",
        )


def quote(
    steps: float,
    *,
    seconds_per_step: float,
    steps_interval: tuple[float | None, float | None] = (None, None),
    seconds_per_step_interval: tuple[float, float] | None = None,
    usd_per_hour: float | None = None,
) -> Quote:
    """Seconds = steps × seconds per step; dollars = seconds / 3600 × dollars per hour.

    The intervals of the two factors are taken as independent: their half-widths add in squares on the logarithmic
    scale. An end that is unknown for the steps is unknown for the seconds.

    Args:
        steps: Optimizer steps, ≥ 0.
        seconds_per_step: Seconds, > 0.
        steps_interval: Ends of the interval of ``steps``; None where unknown or unbounded.
        seconds_per_step_interval: Ends of the interval of ``seconds_per_step``.
        usd_per_hour: Price of the training machine, US dollars per hour.

    Raises:
        InputError: If one of the numbers is negative or not finite, or the time of a step is zero.
    """
    check_price(usd_per_hour)
    if not (math.isfinite(steps) and steps >= 0.0):
        raise InputError(f"steps is {steps!r}.", "Give a finite number of at least 0.")
    if not (math.isfinite(seconds_per_step) and seconds_per_step > 0.0):
        raise InputError(f"seconds_per_step is {seconds_per_step!r}.", "Give a finite number above 0.")
    seconds = steps * seconds_per_step
    low, high = steps_interval
    step_low, step_high = seconds_per_step_interval or (seconds_per_step, seconds_per_step)
    # Beyond the products of the ends no rounding (and no vanishing number of steps) may carry the result.
    if low is not None:
        low = min(seconds, max(low * step_low, seconds / _widen(steps, low, seconds_per_step, step_low)))
    if high is not None:
        wide = seconds * _widen(high, steps, step_high, seconds_per_step) if seconds > 0.0 else math.inf
        high = max(seconds, min(high * step_high, wide))
    usd = None if usd_per_hour is None else seconds / 3600.0 * usd_per_hour
    return Quote(seconds=seconds, low=low, high=high, usd=usd)


def _widen(steps: float, by_steps: float, step_time: float, by_step_time: float) -> float:
    """The two ratios ≥ 1 combined: exp √(ln² + ln²), infinite where a denominator is 0."""
    if by_steps <= 0.0 or by_step_time <= 0.0:
        return math.inf
    exponent = math.hypot(math.log(steps) - math.log(by_steps), math.log(step_time) - math.log(by_step_time))
    return math.exp(exponent) if exponent < _LARGEST_EXPONENT else math.inf
