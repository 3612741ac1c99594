"""Learning curves from a CSV file or from JSON lines: one row an evaluation, with the hyperparameters of its run."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from raytt.errors import InputError
from raytt.forecast.curves.similarity import Hyperparameter

CLOCKS = ("epoch", "step")
"""Columns that say when an evaluation was, the first there is."""
NAMES = ("run", "trial", "candidate")
"""Columns that name the run of an evaluation, the first there is."""
SECONDS = "seconds"
"""The column that says what an evaluation took."""
WORDS: dict[str, Hyperparameter] = {"": None, "none": None, "null": None, "true": True, "false": False}
"""What texts of a CSV file mean that are neither numbers nor words."""

Row = dict[str, Hyperparameter]


@dataclass(frozen=True, kw_only=True)
class CurveFile:
    """What a file of learning curves says, candidate by candidate in the order of their first rows."""

    clock: str
    """One of `CLOCKS`."""
    grid: tuple[float, ...]
    """At which steps some candidate was evaluated, increasing; a candidate was at all of them up to its last."""
    names: tuple[str | None, ...]
    """Of the runs; None where they have none."""
    configs: tuple[dict[str, Hyperparameter], ...]
    """Hyperparameters."""
    curves: tuple[tuple[float, ...], ...]
    """The metric after each evaluation."""
    ended: tuple[bool, ...]
    """Whether the metric was then no longer finite."""
    seconds: tuple[float | None, ...]
    """Of an evaluation of each, the mean; None where that is not known."""


def read_curves(file: str | Path, metric: str) -> CurveFile:
    """Read a file whose name ends with .jsonl or .json as JSON lines, any other as CSV.

    Columns are the metric, a step (`CLOCKS`), if wanted the name of the run (`NAMES`) and `SECONDS`; all others are
    hyperparameters. Where runs have names, columns that change within a run are none. A row without step and metric
    is a candidate that has not been trained; a metric that is not finite ends its run before.

    Args:
        file: Its path.
        metric: Name of the column that is compared.

    Raises:
        InputError: If the file cannot be read, lacks a column, or runs were evaluated at different steps.
    """
    rows = _rows(Path(file))
    columns = list(dict.fromkeys(name for row in rows for name in row))
    if metric not in columns:
        raise InputError(f"{file} has no column {metric!r}.", f"Use one of: {', '.join(columns) or 'none is there'}.")
    clock = _first(CLOCKS, columns)
    if clock is None:
        raise InputError(f"{file} has no column that says when a metric was seen.", f"Name it {' or '.join(CLOCKS)}.")
    named = _first(NAMES, columns)
    apart = {metric, clock, named, SECONDS}
    settings = [name for name in columns if name not in apart]
    runs: dict[Any, list[Row]] = {}
    for row in rows:
        key = row.get(named) if named is not None else tuple(row.get(name) for name in settings)
        runs.setdefault(key, []).append(row)
    if named is not None:
        settings = [s for s in settings if all(len({row.get(s) for row in own}) == 1 for own in runs.values())]
    seen = [_seen(own, metric, clock) for own in runs.values()]
    grid = tuple(sorted({step for points in seen for step, _ in points}))
    for own, points in zip(runs.values(), seen, strict=True):
        _check_steps(points, grid, clock, {name: own[0].get(name) for name in (named, *settings) if name})
    finite = [[value for _, value in points if math.isfinite(value)] for points in seen]
    return CurveFile(
        clock=clock,
        grid=grid,
        names=tuple(None if named is None else str(key) for key in runs),
        configs=tuple({name: own[0].get(name) for name in settings} for own in runs.values()),
        curves=tuple(map(tuple, finite)),
        ended=tuple(len(one) < len(points) for one, points in zip(finite, seen, strict=True)),
        seconds=tuple(_mean(row.get(SECONDS) for row in own) for own in runs.values()),
    )


def _rows(file: Path) -> list[Row]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"Cannot read {file}: {error}.", "Give a CSV file or a file of JSON lines.") from error
    if file.suffix not in (".json", ".jsonl"):
        return [{k: _value(v) for k, v in row.items() if k} for row in csv.DictReader(io.StringIO(text))]
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InputError(f"Line {number} of {file} is no JSON: {error}.", "Give an object a line.") from error
        plain = isinstance(row, dict) and all(v is None or isinstance(v, str | int | float) for v in row.values())
        if not plain:
            raise InputError(
                f"Line {number} of {file} is no object of plain values.", "Give numbers, words, true, false and null."
            )
        rows.append(row)
    return rows


def _value(text: str | None) -> Hyperparameter:
    word = (text or "").strip()
    if word.lower() in WORDS:
        return WORDS[word.lower()]
    try:
        return float(word)
    except ValueError:
        return word


def _first(names: Sequence[str], columns: Sequence[str]) -> str | None:
    return next((name for name in names if name in columns), None)


def _seen(rows: Sequence[Row], metric: str, clock: str) -> list[tuple[float, float]]:
    """Steps and metrics by step, up to the first metric that is not finite."""
    points = sorted(
        (_number(row[clock], clock), _number(row.get(metric), metric, missing=math.nan))
        for row in rows
        if row.get(clock) is not None
    )
    end = next((place for place, (_, value) in enumerate(points) if not math.isfinite(value)), len(points))
    return points[: end + 1]


def _number(value: Hyperparameter, column: str, *, missing: float | None = None) -> float:
    if value is None and missing is not None:
        return missing
    if not isinstance(value, int | float):
        raise InputError(f"The column {column!r} holds {value!r}.", "Give numbers there.")
    return float(value)


def _check_steps(points: list[tuple[float, float]], grid: tuple[float, ...], clock: str, run: Row) -> None:
    steps = [step for step, _ in points]
    if steps == list(grid[: len(steps)]):
        return
    words = ", ".join(f"{name} {value}" for name, value in run.items())
    twice = len(steps) > len(set(steps))
    what = f"two metrics at {clock} {_repeated(steps):g}" if twice else f"none at {clock} {_gap(steps, grid):g}"
    raise InputError(
        f"The run with {words} has {what}; curves are compared step by step.",
        "Give each run the same steps up to its last, and a column 'run' where runs share their hyperparameters or the "
        "file has further metrics.",
    )


def _repeated(steps: Sequence[float]) -> float:
    return next(a for a, b in pairwise(steps) if a == b)


def _gap(steps: Sequence[float], grid: Sequence[float]) -> float:
    return next(step for step in grid if step not in steps)


def _mean(values: Iterable[Hyperparameter]) -> float | None:
    given = [_number(value, SECONDS) for value in values if value is not None]
    return sum(given) / len(given) if given else None
