"""Section: predicted learning curves of some candidates, with their bands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from raytt.errors import InputError
from raytt.forecast.curve_bands import Band
from raytt.report.section import PageInput, Section
from raytt.report.svg import COLOURS, Axis, Figure, Point
from raytt.report.words import human_steps
from raytt.results.entry import Entry
from raytt.results.finished_run import FinishedRun
from raytt.results.ranking import Ranking

SHOWN = 5
"""Number of candidates whose curves are drawn by default."""
QUANTITIES = ("train_loss", "val_loss", "train_accuracy", "val_accuracy")
"""Curves in the order of their figures."""
LONG_AXIS = 20.0
"""Ratio of the longest to the shortest curve above which the step axis is logarithmic. A convention of presentation."""


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
        held = [v for v in values if v <= 3.0 * abs(beginning)]
        positive = all(v > 0.0 for v in held)
        y = Axis.over(f"{label}, logarithmic" if positive else label, held, log=positive)
    names = ", ".join(f"rank {curve.entry.rank}" for curve in there)
    figure = Figure(
        f"curves-{quantity.replace('_', '-')}",
        title=f"{label} over optimizer steps, as predicted",
        description=f"Medians with bands from 5 to 95 %, for {names}. The ranking has numbers.",
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
    """The target's value on that quantity's axis; None where it is on another quantity."""
    target, start = ranking.target, ranking.provenance.start_of(ranking.target)
    if target.settles or target.curve != quantity or (target.relative and start is None):
        return None
    return float(target.level(start or 0.0))


def _shown(run: FinishedRun, show: Sequence[int]) -> list[Curve]:
    entries = {entry.rank: entry for entry in run.ranking.entries}
    for rank in show:
        if rank not in entries:
            raise InputError(f"There is no candidate of rank {rank}.", f"Ranks go from 1 to {len(entries)}.")
    first = [rank for rank in entries if rank not in show][: max(0, min(SHOWN, COLOURS - len(show)))]
    wanted = sorted([*show[:COLOURS], *first])
    return [
        Curve(entry=entries[rank], band=band)
        for rank in wanted
        if (band := run.band(entries[rank].candidate)) is not None
    ]


_OF_SIMULATIONS = (
    "Median over the simulated runs; the band goes from 5 to 95 % of them. A simulation ends at the target or at the "
    "end of the budget."
)
_OF_RATES = (
    "Training loss: the smoothed loss of minibatches in training mode. The band is that of the 90 % interval of steps. "
    "A curve ends with the budget. Validation is known up to the end of the reference run, and drawn level beyond it."
)


def _contents(page: PageInput) -> dict[str, Any] | None:
    shown = _shown(page.run, page.show)
    figures = [svg for quantity in QUANTITIES if (svg := curves(page.ranking, shown, quantity)) is not None]
    explanation = _OF_RATES if page.ranking.method == "rates" else _OF_SIMULATIONS
    contents = {"shown": shown, "names": page.names, "curves": figures, "explanation": explanation}
    return contents if figures else None


SECTION = Section(
    id="curves",
    title="Predicted curves",
    heading="Predicted learning curves",
    template="sections/curves.html.jinja",
    contents=_contents,
)
