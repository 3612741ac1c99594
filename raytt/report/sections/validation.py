"""Section: predictions against real training of some candidates to the target."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from raytt.report.section import PageInput, Section
from raytt.report.svg import Axis, Figure
from raytt.report.words import human_steps
from raytt.results.finished_run import Validated
from raytt.task.rank_objective import OBJECTIVES

LEAST_SPAN = 3.0
"""Axes of real and predicted steps extend at least this factor from their middle. A convention of presentation."""


def words(config: Mapping[str, Any]) -> str:
    """A short form of a configuration: hyperparameters and their values to three digits."""
    written = {k: f"{v:.3g}" if isinstance(v, float) else str(v) for k, v in config.items()}
    return ", ".join(f"{k} {v}" for k, v in written.items() if (k, v) != ("optimizer", "sgd"))


def validation(runs: Sequence[Validated]) -> Markup | None:
    """Predicted steps and their 90 % interval against real steps, with the 20 % band; None where no run has both."""
    both = [r for r in runs if r.predicted_steps and r.real_steps]
    if not both:
        return None
    values = [v for r in both for v in (r.predicted_steps, r.real_steps, r.predicted_low, r.predicted_high) if v]
    # Never so narrow that the band of 20 % fills the picture.
    middle = math.sqrt(min(values) * max(values))
    axis = Axis.over("", [*values, middle / LEAST_SPAN, middle * LEAST_SPAN], log=True, write=human_steps)
    figure = Figure(
        "validation",
        title="Predicted against real steps to the target",
        description=f"{len(both)} really trained; the band holds predictions within 20 %, bars are 90 % intervals.",
        x=Axis(label="Real steps, logarithmic", low=axis.low, high=axis.high, log=True, write=human_steps),
        y=Axis(label="Predicted steps, logarithmic", low=axis.low, high=axis.high, log=True, write=human_steps),
    )
    ends = (axis.low, axis.high)
    figure.band([(v, 0.8 * v) for v in ends], [(v, 1.2 * v) for v in ends], "c0")
    figure.line([(v, v) for v in ends], "limit")
    for run in both:
        if run.predicted_low and run.real_steps:
            high = axis.high if run.predicted_high is None else run.predicted_high
            figure.line([(run.real_steps, run.predicted_low), (run.real_steps, high)], "c0")
        figure.point(
            run.real_steps or 1.0,
            run.predicted_steps or 1.0,
            "c0",
            tip=f"{words(run.config)}, seed {run.seed}: {run.predicted_steps:.0f} predicted, {run.real_steps:.0f} real",
        )
    return figure.svg()


def _contents(page: PageInput) -> dict[str, Any] | None:
    runs = page.run.validation
    if not runs:
        return None
    finals = [run for run in runs if run.real_final]
    known = {name for run in finals for name in run.real_final}
    return {
        "runs": runs,
        "figure": validation(runs),
        "words": words,
        "finals": finals,
        "objectives": [objective for objective in OBJECTIVES if objective.name in known],
    }


SECTION = Section(
    id="validation",
    title="Validation",
    heading="Validation: really trained",
    template="sections/validation.html.jinja",
    contents=_contents,
)
