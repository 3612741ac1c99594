"""How far off predictions along a reference run are, and on what it depends: ``python -m benchmarks.accuracy.spread``.

Fits the constants of `raytt.forecast.model_error` to all pairs of a real and a predicted number of steps of the tasks
given, and, for each task, to those of the others: how many of the task's own runs then lie within 90 % intervals of
that spread alone. Likewise `raytt.forecast.control_variate.SOONER`, the bias below the end of the reference run where
all samples are
probed: the exponent with the least mean |error| there, all tasks counting alike, and what it does to the task that is
left out.

A task may be given as ``digits:128``: predicted from so many of its samples.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from benchmarks.report import table, write
from raytt.forecast.control_variate import SOONER, relative_noise
from raytt.forecast.model_error import Regime

from .predict import THRESHOLDS, Setting, configuration, forecasts, real_crossings, run_prediction, unique
from .record import load_rows
from .tasks import load

FREEDOM = 4.0
"""Degrees of freedom of Student's law in the fit, so that single runs far off do not decide it."""
NAMES = ("WITHIN", "BEYOND", "SMALL_BATCH", "NEAR_EDGE", "PART")
Z90 = 1.6449


@dataclass(frozen=True, kw_only=True)
class Miss:
    """A run, how far off its prediction was, and the regime it was made in."""

    task: str
    optimizer: str
    error: float
    """ln(real / predicted)."""
    regime: Regime
    noise: float = 0.0
    """x of `raytt.forecast.control_variate`."""


def misses(task: str, setting: Setting, folder: Path) -> list[Miss]:
    """All pairs of one task in which both the real run and the simulation reach the threshold."""
    name, _, samples = task.partition(":")
    setting = replace(setting, samples=int(samples) if samples else None)
    rows = load_rows(name)
    prediction, _ = run_prediction(load(name), unique(rows), setting, folder)
    by_ratio = forecasts(prediction, corrected=True)
    references = {r.optimizer: r.candidate for r in prediction.references}
    found = []
    for row in rows:
        c = configuration(row)
        trust = prediction.trust[c.optimizer.name]
        noise = relative_noise(c, references[c.optimizer.name]) if trust.features_move else 0.0
        for ratio, real in zip(THRESHOLDS, real_crossings(row), strict=True):
            steps = by_ratio[ratio][c].steps
            if steps is not None and math.isfinite(real):
                error = math.log(max(real, 1.0) / max(steps, 1.0))
                regime = trust.regime(c, ratio)
                found.append(Miss(task=task, optimizer=c.optimizer.name, error=error, regime=regime, noise=noise))
    return found


def sooner(found: Sequence[Miss]) -> float:
    """The exponent b with the least mean of |error + b d| over pairs at depth d > 0: a weighted median of −error/d."""
    deep = _deep(found)
    sizes = {m.task: sum(o.task == m.task for o in deep) for m in deep}
    pairs = sorted((-_raw(m) / m.regime.depth, m.regime.depth / sizes[m.task]) for m in deep)
    weights = np.cumsum([weight for _, weight in pairs])
    return pairs[int(np.searchsorted(weights, 0.5 * weights[-1]))][0]


def _deep(found: Sequence[Miss]) -> list[Miss]:
    return [m for m in found if m.regime.depth > 0.0 and m.regime.part == 0.0]


def _raw(miss: Miss) -> float:
    """The error without `SOONER`."""
    return miss.error - SOONER * miss.regime.depth


def deep_error(found: Sequence[Miss], exponent: float) -> str:
    """Median |error| and mean error of predicted steps below the end of the reference run, in per cent."""
    errors = np.array([_raw(m) + exponent * m.regime.depth for m in _deep(found)])
    return f"{np.median(np.abs(errors)):.0%} ({-errors.mean():+.0%})"


def fit(found: Sequence[Miss]) -> NDArray[np.float64]:
    """WITHIN, BEYOND, SMALL_BATCH, NEAR_EDGE, PART of the greatest likelihood."""
    terms = np.array([m.regime.terms() for m in found])
    errors = np.array([m.error for m in found])

    def cost(logs: NDArray[np.float64]) -> float:
        scale = np.sqrt(np.square(terms * np.exp(logs)).sum(axis=1))
        return float((np.log(scale) + 0.5 * (FREEDOM + 1) * np.log1p(np.square(errors / scale) / FREEDOM)).sum())

    starts = [np.log(np.full(len(NAMES), value)) for value in (0.05, 0.2)]
    best = min((minimize(cost, start, bounds=[(-7.0, 1.0)] * len(NAMES)) for start in starts), key=lambda r: r.fun)
    # Student's law is wider than the normal one of the same scale: scaled to hold 90 % of what it was fitted to.
    scale = np.sqrt(np.square(terms * np.exp(best.x)).sum(axis=1))
    return np.asarray(np.exp(best.x) * np.quantile(np.abs(errors) / scale, 0.9) / Z90)


def held(found: Sequence[Miss], constants: NDArray[np.float64]) -> float:
    """Share of the runs within 90 % intervals of that spread."""
    scale = np.sqrt(np.square(np.array([m.regime.terms() for m in found]) * constants).sum(axis=1))
    return float((np.abs([m.error for m in found]) <= Z90 * scale).mean())


def main() -> None:
    """Fit, check, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", default="diabetes,digits,docstrings,diabetes:100,digits:128,fashion10")
    parser.add_argument("--proj-dim", type=int, default=2048)
    parser.add_argument("--paths", type=int, default=4)
    parser.add_argument("--stop", type=float, default=0.2)
    parser.add_argument("--runs", type=Path, default=Path("runs/accuracy"))
    parser.add_argument("--json", dest="json_file")
    arguments = parser.parse_args()
    setting = Setting(proj_dim=arguments.proj_dim, num_paths=arguments.paths, stop_ratio=arguments.stop)
    names = arguments.tasks.split(",")
    by_task = {name: misses(name, setting, arguments.runs) for name in names}
    everything = [m for found in by_task.values() for m in found]

    def line(what: str, fitted_to: Sequence[Miss], tested_on: Sequence[Miss]) -> list[str | int]:
        constants = fit(fitted_to)
        return [what, len(fitted_to), *(f"{c:.2f}" for c in constants), f"{held(tested_on, constants):.0%}"]

    def exponent(what: str, fitted_to: Sequence[Miss], tested_on: Sequence[Miss]) -> list[str]:
        found = sooner(fitted_to)
        return [what, f"{found:.2f}", deep_error(tested_on, 0.0), deep_error(tested_on, found)]

    lines = [line("all", everything, everything)]
    exponents = [exponent("all", everything, everything)] if _deep(everything) else []
    # Of a task predicted from all and from a part of its samples, neither tells anything new about the other.
    for name in dict.fromkeys(task.partition(":")[0] for task in by_task):
        own = [m for m in everything if m.task.partition(":")[0] == name]
        others = [m for m in everything if m.task.partition(":")[0] != name]
        if others:
            lines.append(line(f"all but {name}", others, own))
        if _deep(own) and _deep(others):
            exponents.append(exponent(f"all but {name}", others, own))
    figures = [dict(zip(("fitted to", "pairs", *NAMES, "held"), line, strict=True)) for line in lines]
    body = (
        "Standard deviation of ln(real / predicted steps): terms of `raytt.forecast.model_error`. *held*: share within "
        "90 % intervals of that spread alone, of the runs fitted to (first row) or of the task left out.\n\n"
        + table(["fitted to", "pairs", *NAMES, "held"], lines)
        + "\n\nThe exponent below the reference run's end; median |error| and bias of predicted steps there, without "
        "and with it, of the runs fitted to (first row) or of the task left out:\n\n"
        + table(["fitted to", "SOONER", "without", "with"], exponents)
        + "\n"
    )
    write(
        "accuracy-spread",
        f"python -m benchmarks.accuracy.spread --tasks {arguments.tasks}",
        body,
        figures=figures,
        json_file=arguments.json_file,
    )


if __name__ == "__main__":
    main()
