"""Section: which hyperparameters matter, as heat maps and as shares of explained variance."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from markupsafe import Markup

from raytt.forecast.forecast import Status
from raytt.report.importance import importances
from raytt.report.rows import SIGNS, statuses_of
from raytt.report.section import PageInput, Section
from raytt.report.svg import Axis, Figure
from raytt.report.words import human_seconds, short, short_usd
from raytt.results.entry import Entry
from raytt.results.ranking import Ranking

HEATS = 6
"""Shades of the heat map, ``h0`` (best) to ``h5``."""
MOST_COLUMNS = 7
"""Number of learning rates up to which each has its own column; more are grouped into ranges."""


def heat_map(entries: Sequence[Entry], *, key: str, optimizer: str) -> Markup | None:
    """Lowest predicted cost by learning rate and batch size; None with fewer than two of both."""
    rates = sorted({entry.candidate.lr for entry in entries})
    sizes = sorted({entry.candidate.batch_size for entry in entries})
    if len(rates) < 2 and len(sizes) < 2:
        return None
    if len(rates) > MOST_COLUMNS:
        edges = np.geomspace(rates[0], rates[-1], MOST_COLUMNS + 1)
    else:
        middles = [math.sqrt(a * b) for a, b in pairwise(rates)]
        first = rates[0] ** 2 / middles[0] if middles else rates[0] / 2
        edges = np.array([first, *middles, rates[-1] ** 2 / middles[-1] if middles else rates[-1] * 2])
    cells: dict[tuple[int, int], list[Entry]] = {}
    for entry in entries:
        column = min(int(np.searchsorted(edges, entry.candidate.lr, side="right")) - 1, len(edges) - 2)
        cells.setdefault((max(column, 0), sizes.index(entry.candidate.batch_size)), []).append(entry)
    priced = in_dollars(entries)
    best = {at: _best(found, priced) for at, found in cells.items()}
    finite = sorted(value for value, _ in best.values() if math.isfinite(value) and value > 0)
    figure = Figure(
        key,
        title=f"Lowest predicted {'cost' if priced else 'time'} by learning rate and batch size ({optimizer})",
        description="Each cell holds the best candidate in it; a sign stands where none reaches the target.",
        x=Axis(label="Learning rate, logarithmic", low=float(edges[0]), high=float(edges[-1]), log=True, write=short),
        y=Axis(
            label="Batch size",
            low=-0.5,
            high=len(sizes) - 0.5,
            write=lambda row: str(sizes[round(row)]),
            at=tuple(range(len(sizes))),
        ),
    )
    for (column, row), found in sorted(cells.items()):
        value, trusted = best[column, row]
        span = f"lr {short(float(edges[column]))}–{short(float(edges[column + 1]))}, batch size {sizes[row]}"
        counted = f"{len(found)} candidate{'s' if len(found) > 1 else ''}"
        if math.isfinite(value):
            written = short_usd(float(f"{value:.2g}")) if priced else human_seconds(value)
            text = written if trusted else f"{SIGNS[Status.UNTRUSTED]}{written}"
            css = f"h{_shade(value, finite)}"
            tip = f"{span}: best of {counted}, {written}{'' if trusted else ', untrusted'}"
        else:
            status = Counter(entry.forecast.status for entry in found).most_common(1)[0][0]
            text, css = "–" if status is Status.REACHED else SIGNS[status], "none"
            tip = f"{span}: {counted}, mostly {status.value}"
        figure.cell((float(edges[column]), float(edges[column + 1])), (row - 0.5, row + 0.5), css, text=text, tip=tip)
    return figure.svg()


def in_dollars(entries: Sequence[Entry]) -> bool:
    """Whether costs, and not times, are what the heat map shows: not where they are fractions of a cent."""
    costs = sorted(entry.usd for entry in entries if entry.usd is not None)
    return bool(costs) and costs[len(costs) // 2] >= 0.01


def _best(entries: Sequence[Entry], priced: bool) -> tuple[float, bool]:
    """The lowest cost (or time), of those that are trusted if there are any, and whether it is one of them."""
    trusted = [entry for entry in entries if entry.forecast.status is not Status.UNTRUSTED]
    for found, is_trusted in ((trusted, True), (entries, False)):
        values = [v for entry in found if (v := entry.usd if priced else entry.seconds) is not None]
        if values:
            return min(values), is_trusted
    return math.inf, True


def _shade(value: float, values: Sequence[float]) -> int:
    low, high = values[0] if values else value, values[-1] if values else value
    if value <= low or high <= low:
        return 0
    return min(HEATS - 1, int(HEATS * math.log(value / low) / math.log(high / low)))


def _heat_maps(ranking: Ranking) -> list[Markup]:
    found = []
    for optimizer in sorted({entry.candidate.optimizer.name for entry in ranking.entries}):
        entries = [entry for entry in ranking.entries if entry.candidate.optimizer.name == optimizer]
        picture = heat_map(entries, key=f"heat-{optimizer}", optimizer=optimizer)
        found += [] if picture is None else [picture]
    return found


def _importances(ranking: Ranking) -> list[tuple[str, float]]:
    there = [e for e in ranking.entries if e.seconds is not None and e.seconds > 0.0]
    found = importances([e.candidate for e in there], [e.seconds for e in there if e.seconds is not None])
    return [(importance.name, importance.share) for importance in found]


def _contents(page: PageInput) -> dict[str, Any] | None:
    ranking = page.ranking
    heat_maps, shares = _heat_maps(ranking), _importances(ranking)
    if not heat_maps and not shares:
        return None
    return {
        "heat_maps": heat_maps,
        "importances": shares,
        "in_dollars": in_dollars(ranking.entries),
        "statuses": statuses_of(ranking),
        "signs": SIGNS,
    }


SECTION = Section(
    id="matters",
    title="What matters",
    heading="Which hyperparameters matter",
    template="sections/matters.html.jinja",
    contents=_contents,
)
