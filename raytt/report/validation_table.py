"""Predicted against real, as a table for terminals."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from raytt.report.words import as_text, differences, human_seconds, human_steps, settings_of
from raytt.results.validation import Check, Validation
from raytt.task.rank_objective import OBJECTIVES, RankObjective


def render(validation: Validation) -> RenderableType:
    """The table, and how far off the predictions are in all."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("#", justify="right")
    table.add_column("candidate", ratio=1, overflow="fold")
    for name in ("predicted steps", "real steps", "off by", "predicted time", "real time"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("accuracy", justify="right", no_wrap=True)
    candidates = [check.entry.candidate for check in validation.checks]
    # A single one differs from no other: then all of it is said.
    settings: Sequence[RenderableType] = differences(candidates) if len(candidates) == 1 else settings_of(candidates)
    for check, setting in zip(validation.checks, settings, strict=True):
        table.add_row(str(check.entry.rank), setting, *_numbers(check))
    if validation.objective is not None:
        return Group(_by_objective(validation, OBJECTIVES.get(validation.objective), settings), table)
    title = (
        f"Really trained to {validation.target}. Times are of a worker here, whatever machine the ranking is priced on."
    )
    return Group(Text(title), table, Text(_summary(validation)))


def _by_objective(
    validation: Validation, objective: RankObjective, settings: Sequence[RenderableType]
) -> RenderableType:
    """Predicted against real quality at the end of each run."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("#", justify="right")
    table.add_column("candidate", ratio=1, overflow="fold")
    for name in (f"predicted {objective.name}", "90 %", "real", "predicted steps", "real steps"):
        table.add_column(name, justify="right", no_wrap=True)
    for check, setting in zip(validation.checks, settings, strict=True):
        quality, real = check.entry.quality, check.real.final.get(objective.name)
        estimate = None if quality is None else quality.of(objective.name)
        table.add_row(
            str(check.entry.rank),
            setting,
            "–" if estimate is None else objective.write(estimate.value),
            "" if estimate is None else f"{objective.write(estimate.low)}–{objective.write(estimate.high)}",
            check.happened if real is None else objective.write(real),
            "–" if quality is None else human_steps(quality.steps),
            "–" if check.real.run_steps is None else human_steps(check.real.run_steps),
        )
    pairs = validation.final_pairs
    if not pairs:
        summary = "None of them has both a predicted and a real final quality."
    else:
        inside = sum(predicted.low <= real <= predicted.high for predicted, real in pairs)
        gap = float(np.median([abs(predicted.value - real) for predicted, real in pairs]))
        summary = (
            f"The median error is {objective.write(gap)}; {inside} of {len(pairs)} lie in their 90 % intervals. Below: "
            f"the same runs, to {validation.target}."
        )
    title = f"Really trained to the ends of their runs: {objective.words}."
    return Group(Text(title), table, Text(summary), Text())


def plain(validation: Validation) -> str:
    """The same without colours."""
    return as_text(render(validation))


def _numbers(check: Check) -> tuple[str, ...]:
    forecast, real = check.entry.forecast, check.real
    error = check.log_error
    return (
        forecast.status.value if forecast.steps is None else human_steps(forecast.steps),
        check.happened if real.steps is None else human_steps(real.steps),
        "–" if error is None else f"{math.expm1(error):+.0%}",
        "–" if check.predicted_seconds is None else human_seconds(check.predicted_seconds),
        "–" if check.real_seconds is None else human_seconds(check.real_seconds),
        f"{_share(forecast.accuracy)} / {_share(real.accuracy)}",
    )


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _summary(validation: Validation) -> str:
    if validation.median_error is None or validation.bias is None:
        return "None of them both was predicted to reach the target and did."
    count = sum(check.log_error is not None for check in validation.checks)
    return (
        f"Median error {math.expm1(validation.median_error):.0%}, bias {math.expm1(validation.bias):+.0%} (above 0: "
        f"predicted too long), over {count} of {len(validation.checks)} that reach it in both."
    )
