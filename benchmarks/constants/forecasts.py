"""Constants of forecasts: simulated once per task, then forecast again with each value.

Errors are those of predicted steps beside the recorded real runs, over all thresholds that these reach.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.accuracy.measures import Pair, measure, percent
from benchmarks.accuracy.predict import THRESHOLDS, configuration, forecasts, pair_of, real_crossings
from raytt.forecast import control_variate, forecast, model_error, trust
from raytt.forecast.control_variate import Correction, exponent_of
from raytt.forecast.forecast import Status, needs_full_batch
from raytt.forecast.prediction import Prediction
from raytt.task.target import Target

from .vary import Constant, shown, varied

Rows = list[dict[str, Any]]

CORRECTED = (
    Constant(home=control_variate, name="WIDEST", others=(1.0, 1.5, 6.0, 1e6)),
    Constant(home=control_variate, name="MOST_NOISE", others=(1.0, 2.0, 4.0, 16.0, 1e6)),
    Constant(home=control_variate, name="LEVELS", others=(6, 12, 48)),
    Constant(home=control_variate, name="FIRST_RATIO", others=(0.8, 0.95)),
    Constant(home=control_variate, name="ONE_STEP", others=(0.0, 0.5, 2.0)),
)
PART_ONLY = (
    Constant(home=control_variate, name="LATER", others=(0.0, 0.05, 0.2)),
    Constant(home=trust, name="TRUSTED_PASSES", others=(5.0, 10.0, 40.0, math.inf)),
)
INTERVALS = (
    Constant(home=model_error, name="CALM", others=(0.25, 1.0)),
    Constant(home=model_error, name="WILD", others=(0.75, 3.0)),
)
ERROR_HEADER = ("median |err|", "p90", "bias", "90 % covers", "false alarms", "trusted", "their median", "their p90")
FAR = Constant(home=trust, name="FAR_RATIO", others=(1.5, 2.0, 6.0))
SLOWNESS = (
    Constant(home=forecast, name="FLAT_BUDGETS", others=(0.0, 1.0, 2.0, 8.0, math.inf)),
    Constant(home=forecast, name="DECAYED", others=(0.0, 0.025, 0.1, 0.5)),
)


def remeasured(prediction: Prediction) -> Prediction:
    """The prediction with its corrections measured again, with the constants as they are now."""
    whole = prediction.num_samples >= prediction.num_samples_full
    found: dict[str, Correction] = {}
    for reference in prediction.references:
        family = reference.optimizer
        row = prediction.reference_rows[family]
        found[family] = Correction.measure(
            reference.steps.astype(np.float64),
            reference.losses,
            row.curves.steps,
            row.curves.train_loss[row.number],
            exponent=exponent_of(features_move=prediction.trust[family].features_move, all_samples=whole, lifts=False),
        )
    return replace(prediction, corrections=found)


def pairs(prediction: Prediction, rows: Rows) -> dict[str, list[Pair]]:
    """Real runs and their forecasts at all thresholds, by optimizer."""
    by_ratio = forecasts(prediction, corrected=True)
    found: dict[str, list[Pair]] = {}
    for row in rows:
        c = configuration(row)
        for ratio, real in zip(THRESHOLDS, real_crossings(row), strict=True):
            told = by_ratio[ratio][c]
            pair = replace(pair_of(row, real, told), trusted=told.status is not Status.UNTRUSTED)
            found.setdefault(c.optimizer.name, []).append(pair)
    return found


def errors(task: str, prediction: Prediction, rows: Rows) -> Iterator[list[str]]:
    """A line per constant, value and optimizer."""
    part = prediction.num_samples < prediction.num_samples_full
    for constant in (*CORRECTED, *INTERVALS, *(PART_ONLY if part else ())):
        for value in constant.values:
            with varied(constant, value):
                found = pairs(remeasured(prediction), rows)
            for optimizer, own in sorted(found.items()):
                m = measure(own)
                figures = (m.median, m.p90, m.bias, m.coverage, m.false_alarms)
                believed = (m.trusted, m.trusted_median, m.trusted_p90)
                yield [constant.name, task, optimizer, shown(constant, value), *map(percent, (*figures, *believed))]


def far(task: str, prediction: Prediction, rows: Rows) -> Iterator[list[str]]:
    """How many predictions are called far below the reference run's end, and the errors of these and of the others."""
    for value in FAR.values:
        with varied(FAR, value):
            by_ratio = forecasts(prediction, corrected=True)
        split: dict[bool, list[Pair]] = {True: [], False: []}
        for row in rows:
            c = configuration(row)
            for ratio, real in zip(THRESHOLDS, real_crossings(row), strict=True):
                told = by_ratio[ratio][c]
                if told.reaches:
                    split[any(d.startswith("far below") for d in told.doubts)].append(pair_of(row, real, told))
        sides = [measure(split[flag]) for flag in (True, False)]
        yield [
            task,
            shown(FAR, value),
            percent(len(split[True]) / max(1, len(split[True]) + len(split[False]))),
            *(percent(v) for m in sides for v in (m.median, m.p90)),
        ]


def noise_floors(task: str, prediction: Prediction, goal: Target) -> Iterator[list[str]]:
    """Full-batch simulations that a value asks for, and noise floors that it finds by them.

    Args:
        task: For the table.
        prediction: With full-batch simulations of all candidates that miss the goal (`all_doubtful`).
        goal: The target of the simulations.
    """
    for constant in SLOWNESS:
        for value in constant.values:
            with varied(constant, value):
                asked = {
                    c
                    for c, budget in prediction.budgets.items()
                    if needs_full_batch(
                        prediction.rows[c].curves,
                        prediction.rows[c].number,
                        target=goal,
                        budget=budget,
                        candidate=c,
                        num_samples=prediction.num_samples,
                        num_samples_full=prediction.num_samples_full,
                    )
                }
                known = replace(prediction, quiet={c: row for c, row in prediction.quiet.items() if c in asked})
                statuses = [f.status for f in known.forecasts(goal).values()]
            missed = sum(s in (Status.NOISE_FLOOR, Status.NOT_REACHED, Status.UNSTABLE) for s in statuses)
            floors = statuses.count(Status.NOISE_FLOOR)
            yield [constant.name, task, shown(constant, value), str(missed), str(len(asked)), str(floors)]
