"""Figures of the report: predicted curves, cost against time, and the hyperparameters that matter."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from markupsafe import Markup

from raytt.forecast.curve_bands import Band
from raytt.forecast.forecast import Status
from raytt.report.money import interval, place
from raytt.report.svg import Axis, Figure, Point
from raytt.report.words import human_seconds, human_steps, human_usd
from raytt.results.decisions import Decision, TrainingPlan
from raytt.results.entry import Entry
from raytt.results.ranking import Ranking

COLOURS = 6
"""Colours that can be told apart; classes ``c0`` to ``c5`` of the page's style."""
FAR = 10.0
"""A deadline or budget this many times beyond all plans is not drawn."""
HEATS = 6
"""Shades of the heat map, ``h0`` (best) to ``h5``."""
MOST_COLUMNS = 7
"""Learning rates that have columns of their own; of more, ranges have."""
LONG_AXIS = 20.0
"""Ratio of the longest to the shortest curve above which steps are shown logarithmically."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One candidate among those whose curves are shown."""

    entry: Entry
    """With its rank."""
    band: Band
    """Its curves."""


def curves(ranking: Ranking, shown: Sequence[Curve], quantity: str) -> Markup | None:
    """Medians with 5–95 % bands; None where this quantity was not simulated.

    Args:
        ranking: For the target.
        shown: Candidates, at most `COLOURS`.
        quantity: One of `raytt.forecast.curve_bands.QUANTITIES`.
    """
    there = [curve for curve in shown if quantity in curve.band.curves]
    if not there:
        return None
    accuracy = quantity.endswith("accuracy")
    what = {"train": "Training", "val": "Validation"}[quantity.partition("_")[0]]
    label = f"{what} {'accuracy' if accuracy else 'loss'}"
    ends = [float(curve.band.steps[-1]) for curve in there]
    log = max(ends) > LONG_AXIS * max(min(ends), 1.0)
    start = 1.0 if log else 0.0
    x = Axis.over("Optimizer steps" + (", logarithmic" if log else ""), ends, log=log, start=start, write=human_steps)
    values = np.concatenate([curve.band.curves[quantity].ravel() for curve in there])
    if accuracy:
        y = Axis(label=label, low=0.0, high=1.02, write="{:.0%}".format, at=(0.0, 0.2, 0.4, 0.6, 0.8, 1.0))
    else:
        beginning = max(float(curve.band.curves[quantity][1, 0]) for curve in there)
        # A curve that diverges leaves the figure instead of flattening the others.
        y = Axis.over(f"{label}, logarithmic", [v for v in values if v <= 3.0 * beginning], log=True)
    names = ", ".join(f"rank {curve.entry.rank}" for curve in there)
    figure = Figure(
        f"curves-{quantity.replace('_', '-')}",
        title=f"{label} over optimizer steps, as predicted",
        description=f"Medians with bands from 5 to 95 % of the simulated runs, for {names}. The ranking has numbers.",
        x=x,
        y=y,
    )
    for number, curve in enumerate(there):
        steps = [max(float(s), start) for s in curve.band.steps]
        low, median, high = (_points(steps, row) for row in curve.band.curves[quantity])
        figure.band(low, high, f"c{number}")
        figure.line(median, f"c{number} d{number}")
    level = _level(ranking, quantity)
    if level is not None:
        # Curves end at the target on the right, where they are named.
        figure.rule(y=level, text="target", left=True)
    figure.labels(
        [
            (float(c.band.steps[-1]), float(c.band.curves[quantity][1, -1]), f"#{c.entry.rank}", f"c{number}")
            for number, c in enumerate(there)
        ]
    )
    return figure.svg()


def _points(steps: Sequence[float], values: Sequence[float]) -> list[Point]:
    return [(step, float(value)) for step, value in zip(steps, values, strict=True)]


def _level(ranking: Ranking, quantity: str) -> float | None:
    """Where the target lies on that quantity's axis; None where it is on another."""
    target, start = ranking.target, ranking.provenance.initial_loss
    if target.kind == "loss_ratio" and quantity == "train_loss" and start is not None:
        return target.value * start
    names = {"loss": "train_loss", "accuracy": "train_accuracy", "val_loss": "val_loss", "val_accuracy": "val_accuracy"}
    return target.value if names.get(target.kind) == quantity else None


def tradeoff(decision: Decision, names: Mapping[int, str]) -> Markup | None:
    """Cost against time of all plans, with the Pareto front; None where nothing is priced.

    Forecasts that are not trusted are drawn hollow.
    """
    plans, machines, terms = _drawn(decision), tradeoff_machines(decision), decision.terms
    if not plans:
        return None
    times, costs = [plan.seconds for plan in plans], [plan.usd or 0.0 for plan in plans]
    # A bound far beyond all plans does not push them into a corner; the question above the figure names it.
    bounds = [
        [bound] if bound is not None and min(found) / FAR <= bound <= FAR * max(found) else []
        for bound, found in ((terms.deadline, times), (terms.budget_usd, costs))
    ]
    figure = Figure(
        "tradeoff",
        title="Cost against training time of every configuration on every machine",
        description=f"{len(plans)} plans on {len(machines)} machines; the line joins those to which no other is both "
        "faster and cheaper. The table of the Pareto front has the numbers.",
        x=Axis.over("Training time, logarithmic", [*times, *bounds[0]], log=True, write=human_seconds),
        y=Axis.over("Cost, logarithmic", [*costs, *bounds[1]], log=True, write=short_usd),
    )
    figure.line(_staircase(decision.front), "front")
    for plan, usd in zip(plans, costs, strict=True):
        number = machines.index(place(plan))
        tip = f"Rank {plan.entry.rank} ({names[plan.entry.rank]}) on {place(plan)}: {human_seconds(plan.seconds)} "
        tip += f"(90 %: {interval(plan) or 'not known'}), {human_usd(usd)}, {plan.entry.forecast.status.value}"
        css = f"c{number % COLOURS}{'' if plan.trusted else ' hollow'}"
        figure.point(plan.seconds, usd, css, tip=tip, shape=number, size=3.5)
    _ring(figure, decision)
    if terms.deadline is not None:
        figure.rule(x=terms.deadline, text=f"deadline {human_seconds(terms.deadline)}")
    if terms.budget_usd is not None:
        figure.rule(y=terms.budget_usd, text=f"budget ${terms.budget_usd:g}")
    return figure.svg()


def tradeoff_machines(decision: Decision) -> list[str]:
    """Names of the machines in the order of their colours in `tradeoff`."""
    return list(dict.fromkeys(place(plan) for plan in _drawn(decision)))


def _drawn(decision: Decision) -> list[TrainingPlan]:
    return [plan for plan in decision.plans if plan.seconds > 0.0 and plan.usd]


def _ring(figure: Figure, decision: Decision) -> None:
    """Mark what is chosen."""
    chosen = {"cheapest": decision.cheapest, "fastest": decision.fastest}
    if decision.cheapest == decision.fastest:
        chosen = {"cheapest and fastest": decision.cheapest}
    taken: list[float] = []
    for label, plan in chosen.items():
        if plan is not None and plan.usd:
            figure.point(plan.seconds, plan.usd, "ring", tip=f"The {label} that fits", size=8)
            end = figure.x.share(plan.seconds) > 0.6
            down = figure.place(plan.seconds, plan.usd)[1]
            # Where both lie at one height, the second name goes above the first.
            shift = -11.0 if any(abs(down - other) < 14.0 for other in taken) else 4.0
            taken.append(down)
            figure.text(
                plan.seconds, plan.usd, label, "strong end" if end else "strong", shift=(-12 if end else 12, shift)
            )


def _staircase(front: Sequence[TrainingPlan]) -> list[Point]:
    points: list[Point] = []
    for plan in front:
        if points:
            points.append((plan.seconds, points[-1][1]))
        points.append((plan.seconds, plan.usd or 0.0))
    return points


def short_usd(usd: float) -> str:
    """Dollars on an axis, cents below a tenth of one: there is no room for many zeros."""
    if usd < 1e-5:
        return f"${usd:.0e}"
    if usd < 1e-3:
        return f"{100.0 * usd:.2g}¢"
    return f"${usd:g}" if usd < 1e4 else f"${usd:,.0f}"


_SIGNS = {
    Status.UNTRUSTED: "~",
    Status.NOISE_FLOOR: "≈",
    Status.NOT_REACHED: "…",
    Status.UNSTABLE: "✗",
}


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
            text = written if trusted else f"{_SIGNS[Status.UNTRUSTED]}{written}"
            css = f"h{_shade(value, finite)}"
            tip = f"{span}: best of {counted}, {written}{'' if trusted else ', untrusted'}"
        else:
            status = Counter(entry.forecast.status for entry in found).most_common(1)[0][0]
            text, css = _SIGNS.get(status, "–"), "none"
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


def short(value: float) -> str:
    """A number in at most two digits."""
    return f"{float(f'{value:.2g}'):g}"
