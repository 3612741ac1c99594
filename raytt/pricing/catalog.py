"""What machines cost per hour: a table with the columns of SkyPilot's catalogs, and a date and a source in every row.

A row names a price that somebody published on a day; nothing is filled in. Host machines without an accelerator have no
rows here: `raytt.pricing.terms` lets a user bring a price of their own.
"""

from __future__ import annotations

import csv
import difflib
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.resources import files
from pathlib import Path

from raytt.errors import InputError

NEEDED = ("Cloud", "InstanceType", "AcceleratorName", "AcceleratorCount", "Region", "Price", "as_of", "source")
"""Columns that every table must have; ``SpotPrice`` and ``SpotPriceHigh`` may follow, others are ignored."""
STALE_DAYS = 90
"""Age beyond which a price comes with a warning."""

_SPEC = re.compile(r"(?P<cloud>[^:@\s]+):(?P<instance>[^:@\s]+)(?:@(?P<region>[^:@\s]+))?(?P<spot>:spot)?")
_DATE = re.compile(r"(\d{4})(?:-(\d{2})-(\d{2}))?")


@dataclass(frozen=True, kw_only=True)
class Offer:
    """One machine at one price."""

    cloud: str
    """Who rents it out, such as "aws"."""
    instance_type: str
    """Its name there."""
    accelerator: str
    """Name of its accelerator in SkyPilot's spelling; empty for none."""
    accelerator_count: int
    """Accelerators in one machine."""
    region: str
    """Where."""
    spot: bool = False
    """Whether the machine may be taken away at any time."""
    usd_per_hour: float
    """US dollars per hour for the whole machine; of a spot price that moves, the highest recorded."""
    usd_per_hour_low: float | None = None
    """Lowest recorded price of a spot machine; None where the price does not move."""
    as_of: str
    """Day of the price, YYYY-MM-DD, or the year where only that is known."""
    source: str
    """Who published it."""

    def __post_init__(self) -> None:
        low = self.usd_per_hour if self.usd_per_hour_low is None else self.usd_per_hour_low
        if not (0.0 <= low <= self.usd_per_hour < math.inf) or self.accelerator_count < 0:
            raise ValueError(f"offer {self.instance_type} at {low}…{self.usd_per_hour} with {self.accelerator_count}")
        as_date(self.as_of)

    @property
    def name(self) -> str:
        """As a user would ask for it: ``aws:g6.xlarge`` or ``aws:g6.xlarge:spot``."""
        return f"{self.cloud}:{self.instance_type}{':spot' if self.spot else ''}"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a table."""

    cloud: str
    instance_type: str
    accelerator: str
    accelerator_count: int
    region: str
    price: float | None
    """On demand, US dollars per hour; None where not offered."""
    spot_low: float | None
    """Spot, lowest recorded; None where not known."""
    spot_high: float | None
    """Spot, highest recorded."""
    as_of: str
    source: str

    def offer(self, *, spot: bool) -> Offer | None:
        """At the one price or the other; None where the table does not have it."""
        price = self.spot_high if spot else self.price
        if price is None:
            return None
        return Offer(
            cloud=self.cloud,
            instance_type=self.instance_type,
            accelerator=self.accelerator,
            accelerator_count=self.accelerator_count,
            region=self.region,
            spot=spot,
            usd_per_hour=price,
            usd_per_hour_low=self.spot_low if spot and self.spot_low != price else None,
            as_of=self.as_of,
            source=self.source,
        )


Catalog = tuple[Row, ...]


def load_catalog(path: str | Path | None = None) -> Catalog:
    """The table that comes with raytt; with a file, its rows before those of raytt for other machines.

    A row of the file replaces all of raytt's rows for the same cloud and instance type.

    Args:
        path: A CSV file with the columns `NEEDED`, and if wanted ``SpotPrice`` and ``SpotPriceHigh``.

    Raises:
        InputError: If the file cannot be read, lacks a column, or a row cannot be used; names the line.
    """
    own = tuple(_rows(files("raytt.pricing").joinpath("catalog.csv").read_text(encoding="utf-8"), "catalog.csv"))
    if path is None:
        return own
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"Cannot read the catalog {path}: {error}.", "Give a CSV file in UTF-8.") from error
    rows = tuple(_rows(text, str(path)))
    given = {(row.cloud, row.instance_type) for row in rows}
    return rows + tuple(row for row in own if (row.cloud, row.instance_type) not in given)


def find_offer(catalog: Catalog, spec: str) -> Offer:
    """The offer that ``CLOUD:INSTANCE[@REGION][:spot]`` names; without a region the cheapest one.

    Raises:
        InputError: If there is no such machine, or no such price for it.
    """
    match = _SPEC.fullmatch(spec.strip())
    if match is None:
        raise InputError(
            f"Cannot read the price {spec!r}.", "Write CLOUD:INSTANCE, such as aws:g6.xlarge or aws:g5.xlarge:spot."
        )
    machine, spot = f"{match['cloud']}:{match['instance']}", match["spot"] is not None
    alike = [row for row in catalog if f"{row.cloud}:{row.instance_type}".lower() == machine.lower()]
    if not alike:
        names = list(dict.fromkeys(f"{row.cloud}:{row.instance_type}" for row in catalog))
        near = difflib.get_close_matches(machine, names, n=3, cutoff=0.4) or names
        raise InputError(
            f"The catalog has no {machine!r}.",
            f"Near: {', '.join(near)}. Bring prices of your own with --catalog FILE (columns {', '.join(NEEDED)}).",
        )
    here = [row for row in alike if match["region"] in (None, row.region)]
    if not here:
        raise InputError(
            f"The catalog has no {machine!r} in {match['region']!r}.",
            f"Regions it has: {', '.join(row.region for row in alike)}.",
        )
    offers = [offer for row in here if (offer := row.offer(spot=spot)) is not None]
    if not offers:
        kind, other = ("spot", "on demand: leave ':spot' out") if spot else ("on-demand", "spot: add ':spot'")
        raise InputError(f"The catalog has no {kind} price for {machine!r}.", f"It has one {other}.")
    return min(offers, key=lambda offer: (offer.usd_per_hour, offer.region))


def as_date(as_of: str) -> date:
    """The day of a price; the first of January where only the year is known, which is the oldest it can be.

    Raises:
        ValueError: If it is neither YYYY-MM-DD nor YYYY.
    """
    match = _DATE.fullmatch(as_of)
    if match is None:
        raise ValueError(f"{as_of!r} is neither YYYY-MM-DD nor YYYY")
    return date(int(match[1]), int(match[2] or 1), int(match[3] or 1))


def warn_of_age(offers: Iterable[Offer], today: date) -> tuple[str, ...]:
    """A sentence for every offer whose price is more than `STALE_DAYS` days old on the day ``today``."""
    notes = []
    for offer in offers:
        days = (today - as_date(offer.as_of)).days
        if days > STALE_DAYS:
            upto = "up to " if len(offer.as_of) == 4 else ""
            notes.append(
                f"The price of {offer.name} is of {offer.as_of}, {upto}{days} days old: check it, and bring a newer "
                "one with --catalog FILE."
            )
    return tuple(notes)


def _rows(text: str, place: str) -> Iterator[Row]:
    try:
        yield from _checked_rows(csv.DictReader(text.splitlines()), place)
    except csv.Error as error:
        raise InputError(f"The catalog {place} is no CSV: {error}.", "Give a CSV file in UTF-8.") from error


def _checked_rows(reader: csv.DictReader[str], place: str) -> Iterator[Row]:
    missing = [name for name in NEEDED if name not in (reader.fieldnames or ())]
    if missing:
        raise InputError(
            f"The catalog {place} lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}.",
            "SkyPilot's own tables have no Cloud, as_of and source: add who rents it out, the day and the publisher.",
        )
    for line, cells in enumerate(reader, start=2):
        try:
            yield _row({name: (cell or "").strip() for name, cell in cells.items() if isinstance(name, str)})
        except ValueError as error:
            raise InputError(
                f"Line {line} of the catalog {place}: {error}.", "Correct it, or remove the line."
            ) from error


def _row(cells: Mapping[str, str]) -> Row:
    for name in ("Cloud", "InstanceType", "as_of", "source"):
        if not cells[name]:
            raise ValueError(f"{name} is empty")
    as_date(cells["as_of"])
    count = _number("AcceleratorCount", cells) or 0.0
    if count != int(count):
        raise ValueError(f"AcceleratorCount is {count:g}, not a whole number")
    price, spot_low = _number("Price", cells), _number("SpotPrice", cells)
    spot_high = _number("SpotPriceHigh", cells)
    spot_high = spot_low if spot_high is None else spot_high
    if price is None and spot_low is None:
        raise ValueError("neither Price nor SpotPrice is given")
    if (spot_low is None and spot_high is not None) or (spot_low or 0.0) > (spot_high or 0.0):
        raise ValueError(f"SpotPrice {spot_low} and SpotPriceHigh {spot_high} do not go together")
    return Row(
        cloud=cells["Cloud"],
        instance_type=cells["InstanceType"],
        accelerator=cells["AcceleratorName"],
        accelerator_count=int(count),
        region=cells["Region"],
        price=price,
        spot_low=spot_low,
        spot_high=spot_high,
        as_of=cells["as_of"],
        source=cells["source"],
    )


def _number(name: str, cells: Mapping[str, str]) -> float | None:
    text = cells.get(name, "")
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f"{name} is {text!r}, not a number") from None
    if not (math.isfinite(number) and number >= 0.0):
        raise ValueError(f"{name} is {text}, not a finite number of at least 0")
    return number


def describe_offers(offers: Sequence[Offer]) -> tuple[str, ...]:
    """What each costs, with its date and its source, for the reader."""
    lines = []
    for offer in offers:
        low = "" if offer.usd_per_hour_low is None else f"{offer.usd_per_hour_low:g}–"
        lines.append(
            f"{offer.name} in {offer.region}: ${low}{offer.usd_per_hour:g} per hour on {offer.as_of} ({offer.source})"
        )
    return tuple(lines)
