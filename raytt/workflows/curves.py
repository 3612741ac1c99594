"""A ranking by learning curves alone, from the file in which they stand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from raytt.errors import InputError
from raytt.forecast.curves.rank_curves import CurveRanking, rank_curves
from raytt.results.curve_table import CurveRow, CurveTable
from raytt.workflows.curve_file import CurveFile, read_curves


def rank_curve_file(
    file: str | Path, *, metric: str, maximize: bool = False, budget: float | None = None
) -> CurveTable:
    """Rank the candidates of a file by their expected final metric, see `read_curves` and `rank_curves`.

    Args:
        file: CSV or JSON lines.
        metric: Name of its column.
        maximize: Whether more of it is better.
        budget: Where a whole run ends, in the unit of the file's steps; None: at the last step in the file. Evaluations
            after that step are taken to follow at the distance of the last two.

    Raises:
        InputError: If the file cannot be used, or the budget ends before its last step.
    """
    found = read_curves(file, metric)
    whole = _whole(found, budget)
    first = [curve[0] for curve in found.curves if curve]
    if not first:
        raise InputError(f"No candidate of {file} has a {metric} yet.", "Evaluate some of them once.")
    worst = min(first) if maximize else max(first)
    ranking = rank_curves(
        found.configs,
        # One that ended before it had a metric is no better than the worst of the others.
        [curve or ((worst,) if over else ()) for curve, over in zip(found.curves, found.ended, strict=True)],
        evaluations=len(whole),
        seconds=found.seconds,
        ended=found.ended,
        progress=np.asarray(whole) / whole[-1],
        mode="max" if maximize else "min",
    )
    places = {int(number): place for place, number in enumerate(ranking.order)}
    return CurveTable(
        metric=metric,
        maximize=maximize,
        clock=found.clock,
        budget=whole[-1],
        evaluations=len(whole),
        rows=tuple(_row(found, ranking, int(number)) for number in ranking.order),
        next=tuple(places[int(number)] for number in ranking.next),
    )


def _whole(found: CurveFile, budget: float | None) -> list[float]:
    """The steps at which a whole run is evaluated."""
    grid = list(found.grid)
    if grid and grid[0] <= 0.0:
        raise InputError(
            f"The first {found.clock} is {grid[0]:g}.",
            f"Leave out what was before training, and count from 1: a metric at {found.clock} n is that after n.",
        )
    if budget is None or not grid:
        return grid
    if budget < grid[-1]:
        raise InputError(
            f"--budget is {budget:g}, before the last {found.clock} in the file, {grid[-1]:g}.",
            f"Give at least {grid[-1]:g}.",
        )
    spacing = grid[-1] - (grid[-2] if len(grid) > 1 else 0.0)
    more = max(0, math.ceil((budget - grid[-1]) / spacing - 1e-9))
    return grid + [min(budget, grid[-1] + spacing * number) for number in range(1, more + 1)]


def _row(found: CurveFile, ranking: CurveRanking, number: int) -> CurveRow:
    config, curve = found.configs[number], found.curves[number]
    failed = found.ended[number] and not curve
    final, low, high = (
        None if failed else float(column[number]) for column in (ranking.final, ranking.low, ranking.high)
    )
    return CurveRow(
        run=found.names[number],
        config=config,
        evaluations=len(curve),
        last=curve[-1] if curve else None,
        final=final,
        low=low,
        high=high,
        failing=1.0 if failed else float(ranking.failing[number]),
    )
