"""What a user brings to a decision: machines and prices, a budget, a deadline, own measurements."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from raytt.errors import InputError
from raytt.pricing.catalog import Offer, find_offer, load_catalog

THIS_MACHINE = "this machine"
"""Name of the machine on which steps were timed."""

_UNITS = {"s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*([a-z]*)")
_OWN = re.compile(r"(?:(?P<machine>[^/=]+)/)?(?:(?P<batch>\d+)=)?(?P<low>[\d.eE+-]+?)(?:\.\.(?P<high>[\d.eE+-]+))?")


@dataclass(frozen=True, kw_only=True)
class OwnTime:
    """A step time that the user measured."""

    machine: str | None
    """Name of the offer it holds for; None for every machine."""
    batch_size: int | None
    """B it holds for; None for every batch size."""
    low: float
    """Lower end, seconds."""
    high: float
    """Upper end, seconds."""

    @classmethod
    def parse(cls, text: str) -> OwnTime:
        """From ``[MACHINE/][BATCH=]SECONDS`` with SECONDS a number or ``LOW..HIGH``.

        Raises:
            InputError: If it is something else.
        """
        match = _OWN.fullmatch(text.strip())
        try:
            low = float(match["low"]) if match else math.nan
            high = float(match["high"]) if match and match["high"] else low
        except ValueError:
            low = high = math.nan
        if match is None or not 0.0 < low <= high < math.inf:
            raise InputError(
                f"Cannot read seconds per step from {text!r}.",
                "Write [MACHINE/][BATCH=]SECONDS, such as 0.12, 32=0.1..0.14 or aws:g6.xlarge/32=0.12.",
            )
        return cls(
            machine=match["machine"], batch_size=int(match["batch"]) if match["batch"] else None, low=low, high=high
        )

    def fits(self, machine: str, batch_size: int) -> bool:
        """Whether it holds for that machine and batch size."""
        return self.machine in (None, machine) and self.batch_size in (None, batch_size)


@dataclass(frozen=True, kw_only=True)
class Terms:
    """Machines to choose from, and what the choice must keep to."""

    offers: tuple[Offer, ...] = ()
    """Machines with their prices; none means the one on which steps are timed."""
    gpus: tuple[int, ...] = (1,)
    """Numbers of accelerators to train on, each ≥ 1."""
    efficiency: tuple[float, float] | None = None
    """Interval, in (0, 1], of the share of n-fold speed that data-parallel training on n accelerators reaches."""
    own_times: tuple[OwnTime, ...] = ()
    """The user's measurements; the most specific one that fits counts."""
    budget_usd: float | None = None
    """Most that a training run may cost, US dollars."""
    deadline: float | None = None
    """Longest that it may take, seconds."""
    confidence: float = 0.5
    """Probability with which budget and deadline must be kept."""

    def __post_init__(self) -> None:
        if not self.gpus or any(not isinstance(n, int) or n < 1 for n in self.gpus):
            raise InputError(f"gpus is {self.gpus!r}.", "Give whole numbers of at least 1.")
        if max(self.gpus) > 1 and self.efficiency is None:
            raise InputError(
                f"{max(self.gpus)} GPUs were asked for, but not how well training scales over them.",
                "Give the efficiency of data-parallel training, such as 0.9 or 0.8..0.95: it depends on network and "
                "interconnect, and is best measured.",
            )
        low, high = self.efficiency or (1.0, 1.0)
        if not 0.0 < low <= high <= 1.0:
            raise InputError(f"efficiency is {low:g}..{high:g}.", "Give a number, or low..high, in (0, 1].")
        for name, number in (("budget_usd", self.budget_usd), ("deadline", self.deadline)):
            if number is not None and not (math.isfinite(number) and number > 0.0):
                raise InputError(f"{name} is {number!r}.", "Give a number above 0.")
        if not 0.0 < self.confidence < 1.0:
            raise InputError(f"confidence is {self.confidence!r}.", "Give a probability between 0 and 1.")

    @property
    def asks(self) -> bool:
        """Whether there is anything to decide: a machine to choose, a budget or a deadline."""
        return bool(self.offers) or self.budget_usd is not None or self.deadline is not None

    @classmethod
    def of(
        cls,
        *,
        prices: str | Sequence[str] = (),
        catalog: str | Path | None = None,
        gpus: Sequence[int] = (),
        efficiency: float | str | None = None,
        seconds_per_step: str | float | Sequence[str | float] = (),
        budget_usd: float | None = None,
        deadline: float | str | None = None,
        confidence: float | None = None,
        base: Terms | None = None,
    ) -> Terms:
        """Terms from what a user writes.

        Args:
            prices: Machines to choose from: ``aws:g6.xlarge``, ``aws:g5.xlarge:spot``, ``aws:g6.xlarge@us-east-1``.
            catalog: A CSV file with prices of your own, see `raytt.pricing.catalog`.
            gpus: Numbers of GPUs to train on; one unless given.
            efficiency: Of data-parallel training: ``0.9`` or ``"0.8..0.95"``.
            seconds_per_step: Your own figures: ``0.12``, ``"32=0.12"``, ``"aws:g6.xlarge/32=0.10..0.14"``.
            budget_usd: Most that training may cost.
            deadline: Longest that it may take: seconds, or ``"12h"``, ``"1h30min"``, ``"2d"``.
            confidence: Probability with which both must be kept; ½ unless given.
            base: Terms that hold for what is not given.

        Raises:
            InputError: If one of them cannot be read, or the catalog has no such price.
        """
        base = base or cls()
        wanted = [prices] if isinstance(prices, str) else list(prices)
        own = [seconds_per_step] if isinstance(seconds_per_step, str | float | int) else list(seconds_per_step)
        offers, own_times = base.offers, tuple(OwnTime.parse(str(text)) for text in own)
        if wanted or catalog is not None:
            table = load_catalog(catalog)
            offers = tuple(find_offer(table, spec) for spec in dict.fromkeys(wanted)) or offers
        names = [offer.name for offer in offers] or [THIS_MACHINE]
        for time in own_times:
            if time.machine is not None and time.machine not in names:
                raise InputError(
                    f"Seconds per step were given for {time.machine!r}, which is none of the machines asked for.",
                    f"Machines: {', '.join(names)}.",
                )
        return cls(
            offers=offers,
            gpus=tuple(dict.fromkeys(gpus)) or base.gpus,
            efficiency=base.efficiency if efficiency is None else _interval(efficiency),
            own_times=own_times or base.own_times,
            budget_usd=base.budget_usd if budget_usd is None else budget_usd,
            deadline=base.deadline if deadline is None else parse_duration(deadline),
            confidence=base.confidence if confidence is None else confidence,
        )


def parse_duration(text: float | str) -> float:
    """Seconds from a number, or from a sum such as ``12h``, ``90min``, ``1h30m``, ``2d 6h``.

    Raises:
        InputError: If it is neither.
    """
    if isinstance(text, int | float) and not isinstance(text, bool):
        return float(text)
    cleaned = str(text).strip().lower()
    parts = _PART.findall(cleaned)
    whole = _PART.sub("", cleaned).strip() == ""
    known = all(unit in _UNITS or (unit == "" and len(parts) == 1) for _, unit in parts)
    if not (parts and whole and known):
        raise InputError(f"Cannot read the duration {text!r}.", "Write it as 12h, 90min, 1h30m, 2d, or in seconds.")
    return sum(float(number) * _UNITS.get(unit, 1.0) for number, unit in parts)


def _interval(text: float | str) -> tuple[float, float]:
    low, dots, high = str(text).partition("..")
    try:
        return float(low), float(high if dots else low)
    except ValueError:
        raise InputError(f"Cannot read the efficiency {text!r}.", "Write a number, or low..high.") from None
