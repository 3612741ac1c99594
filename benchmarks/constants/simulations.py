"""Constants of simulations, each value simulated anew: how features grow past the path, and what is known of the whole
set where a part of it was probed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import ray

from benchmarks.accuracy.measures import measure, percent
from benchmarks.accuracy.predict import Setting, run_prediction, unique
from benchmarks.accuracy.record import load_rows
from benchmarks.accuracy.tasks import load
from raytt.cluster.stages import full_dataset as stage
from raytt.cluster.stages import solve
from raytt.dynamics import path
from raytt.forecast import forecast, full_dataset
from raytt.forecast.prediction import Prediction

from .forecasts import Rows, pairs
from .vary import Constant, shown, varied

GROWTH = Constant(home=path, name="GROWS_FOR", others=(0.0, 0.5, 2.0))
LIFTED = (
    Constant(home=full_dataset, name="MARGIN", others=(0.0, 0.1, 0.4)),
    Constant(home=full_dataset, name="LEVELS", others=(24, 48, 192)),
    Constant(home=stage, name="DEEPER", others=(1.0, 2.0, 8.0)),
)
_VARIABLE = "RAYTT_BENCHMARK_GROWS_FOR"


def grow_as_told() -> None:
    """Set `GROWS_FOR` in a worker process of Ray, which does not share this one's memory."""
    path.GROWS_FOR = float(os.environ[_VARIABLE])


@contextmanager
def growing(value: float) -> Iterator[None]:
    """Simulations in which features grow for so many lengths of the last segment; kept apart from raytt's own."""
    if value == GROWTH.own:
        yield
        return
    ray.init(
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": {_VARIABLE: repr(value)}, "worker_process_setup_hook": grow_as_told},
    )
    numerics = Constant(home=solve, name="NUMERICS", others=())
    try:
        # Part of the key under which curves are kept: a number that no version of raytt has.
        with varied(numerics, 1000 + round(100 * value)):
            yield
    finally:
        ray.shutdown()


def doubtful(task: str, setting: Setting, folder: Path) -> Prediction:
    """A prediction with full-batch simulations of all candidates that miss the target, flat or not."""
    flat = Constant(home=forecast, name="FLAT_BUDGETS", others=())
    decayed = Constant(home=forecast, name="DECAYED", others=())
    with varied(flat, 0.0), varied(decayed, 0.0):
        return run_prediction(load(task), unique(load_rows(task)), setting, folder)[0]


def growth(task: str, setting: Setting, folder: Path) -> Iterator[list[str]]:
    """A line per value of `GROWS_FOR` and optimizer."""
    rows = load_rows(task)
    for value in GROWTH.values:
        with growing(value):
            prediction, _ = run_prediction(load(task), unique(rows), setting, folder)
        yield from _lines(GROWTH, value, task, prediction, rows)


def lifted(task: str, setting: Setting, folder: Path) -> Iterator[list[str]]:
    """A line per constant of the estimate for the whole set, value and optimizer."""
    rows = load_rows(task)
    for constant in LIFTED:
        for value in constant.values:
            with varied(constant, value):
                prediction, _ = run_prediction(load(task), unique(rows), replace(setting, whole_set=True), folder)
            yield from _lines(constant, value, f"{task}:{setting.samples}", prediction, rows)


def _lines(constant: Constant, value: float, task: str, prediction: Prediction, rows: Rows) -> Iterator[list[str]]:
    for optimizer, own in sorted(pairs(prediction, rows).items()):
        m = measure(own)
        figures = (m.median, m.p90, m.bias, m.coverage, m.false_alarms, m.trusted, m.trusted_median, m.trusted_p90)
        yield [constant.name, task, optimizer, shown(constant, value), *map(percent, figures)]
