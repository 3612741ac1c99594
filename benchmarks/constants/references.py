"""Constants of reference runs: real short trainings from learning rates that are too low, right and too high.

Each run begins at the learning rate that raytt chooses from the candidates of the record, times a factor; a rule that
tells a hopeless learning rate early saves steps, one that tells it falsely wastes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from benchmarks.accuracy.tasks import RecordTask
from raytt.errors import InputError
from raytt.forecast.reference_choice import reference_candidate
from raytt.task.candidate import Candidate
from raytt.task.optimizers import sgd
from raytt.training import reference_run
from raytt.training.reference_run import run_reference
from raytt.workflows.plan import NUM_WAYPOINTS, STOP_RATIO

from .vary import Constant, shown, varied

RULES = (
    Constant(home=reference_run, name="CLIMB", others=(1.25, 3.0, 1e6)),
    Constant(home=reference_run, name="SLOW_RATIO", others=(0.86, 0.97)),
    Constant(home=reference_run, name="PATIENCE_STEPS", others=(30, 120)),
    Constant(home=reference_run, name="LR_FACTOR", others=(2.0, 10.0)),
    Constant(home=reference_run, name="MOST_RESTARTS", others=(0, 6)),
    Constant(home=reference_run, name="CLIMB_FROM", others=(0.0, 0.4)),
    Constant(home=reference_run, name="BATCH_CLIMB", others=(3.0, 1e6)),
    Constant(home=reference_run, name="WORTH_KEEPING", others=(0.9, 1.0)),
    Constant(home=reference_run, name="SPACING", others=(0.05, 0.2)),
)
SHARE = Constant(home=sgd, name="SAFE_SHARE", others=(0.0625, 0.125, 0.5, 1.0))
FACTORS = (1 / 30, 1.0, 30.0)
"""Times the learning rate that raytt begins with."""
MOST_STEPS = 1500
"""Steps of a run, restarts included."""
RUN_HEADER = ("runs", "get there", "leave no path", "begun again", "steps given up", "steps of the last attempt")


@dataclass(frozen=True, kw_only=True)
class Told:
    """What came of one reference run."""

    arrived: bool
    """Whether it got to `STOP_RATIO`."""
    failed: bool
    """Whether it left no tangent."""
    restarts: int
    wasted: int
    """Steps of attempts that were given up."""
    steps: int
    """Of the last attempt."""


def trained(record_task: RecordTask, candidate: Candidate, seed: int, num_samples: int) -> Told:
    """One run."""
    seen: list[int] = []
    try:
        found = run_reference(
            record_task.task,
            candidate,
            seed=seed,
            stop_ratio=STOP_RATIO,
            num_waypoints=NUM_WAYPOINTS,
            most_steps=MOST_STEPS,
            eval_index=np.arange(num_samples),
            on_step=lambda step, ratio: seen.append(step),
        )
    except InputError:
        return Told(arrived=False, failed=True, restarts=0, wasted=MOST_STEPS, steps=0)
    return Told(
        arrived=bool(found.losses.min() <= STOP_RATIO * found.losses[0]),
        failed=False,
        restarts=sum(b <= a for a, b in pairwise(seen)),
        wasted=found.wasted_steps,
        steps=int(found.steps[-1]),
    )


def line(runs: Sequence[Told]) -> list[str]:
    """Counts, and the mean steps of a run."""
    return [
        str(len(runs)),
        str(sum(r.arrived for r in runs)),
        str(sum(r.failed for r in runs)),
        str(sum(r.restarts for r in runs)),
        f"{np.mean([r.wasted for r in runs]):.0f}",
        f"{np.mean([r.steps for r in runs]):.0f}",
    ]


def rules(
    task: str, record_task: RecordTask, starts: Sequence[Candidate], seeds: Sequence[int], num_samples: int
) -> Iterator[list[str]]:
    """A line per rule and value, over all starts, factors and seeds; what raytt itself does comes first, once."""

    def run_all() -> list[str]:
        begun = [replace(start, lr=start.lr * factor) for start in starts for factor in FACTORS]
        return line([trained(record_task, c, seed, num_samples) for c in begun for seed in seeds])

    yield ["as it is", task, "", *run_all()]
    for constant in RULES:
        for value in constant.others:
            with varied(constant, value):
                yield [constant.name, task, shown(constant, value), *run_all()]


def shares(
    task: str,
    record_task: RecordTask,
    candidates: Sequence[Candidate],
    stability_limit: float,
    seeds: Sequence[int],
    num_samples: int,
) -> Iterator[list[str]]:
    """A line per share of the stability limit within which SGD's learning rates are looked at."""
    family = [c for c in candidates if c.optimizer.name == "sgd"]
    for value in SHARE.values:
        with varied(SHARE, value):
            start = reference_candidate(family, stability_limit=stability_limit)
        runs = [trained(record_task, start, seed, num_samples) for seed in seeds]
        yield [SHARE.name, task, f"{shown(SHARE, value)}: lr {start.lr:.2g}", *line(runs)]
