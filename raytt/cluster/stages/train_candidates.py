"""Real training of chosen candidates on Ray, several at a time, each kept as soon as it is done."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import ray

from raytt.cluster.plumbing.dispatch import run_tasks
from raytt.cluster.plumbing.process import settle
from raytt.cluster.plumbing.progress import Phase
from raytt.cluster.plumbing.session import WorkerResources
from raytt.forecast.crossing import PathCurves
from raytt.results.validation import Outcome
from raytt.store.fingerprint import fingerprint
from raytt.store.run import Run
from raytt.task.candidate import Candidate
from raytt.task.target import Target
from raytt.task.task import Task
from raytt.training.loop import TrainingCurve, record_points, train

RECORDS = 80
"""Evaluations of one run, at most."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A candidate to be trained."""

    candidate: Candidate
    """Its configuration."""
    seed: int
    """Of its minibatches."""
    steps: int
    """Steps after which it is given up."""
    budget: int
    """Steps at which its schedule ends."""


def outcome(curve: TrainingCurve, target: Target, *, steps_per_epoch: float) -> Outcome:
    """Where a real run first met the target, interpolated between records as forecasts are."""
    paths = PathCurves(
        times=curve.steps.astype(np.float64),
        end=int(curve.steps[-1]),
        train_loss=curve.train_loss[None],
        train_accuracy=None if curve.train_accuracy is None else curve.train_accuracy[None],
        val_loss=None if curve.val_loss is None else curve.val_loss[None],
        val_accuracy=None if curve.val_accuracy is None else curve.val_accuracy[None],
    )
    steps = float(paths.crossings(target, steps_per_epoch)[0])
    at = steps if math.isfinite(steps) else float(curve.steps[-1])

    def read(values: Any) -> float | None:
        return None if values is None else float(np.interp(at, curve.steps, values))

    return Outcome(
        steps=steps if math.isfinite(steps) else None,
        steps_done=int(curve.steps[-1]),
        diverged=curve.diverged,
        accuracy=read(curve.train_accuracy),
        val_accuracy=read(curve.val_accuracy),
        seconds_per_step=curve.seconds_per_step,
    )


def _train(task: Task, trial: Trial, target: Target, resources: WorkerResources, num_samples: int) -> dict[str, Any]:
    settle(threads=resources.cpus, gpus=resources.gpus)
    curve = train(
        task,
        trial.candidate,
        seed=trial.seed,
        steps=trial.steps,
        schedule_steps=trial.budget,
        record_at=record_points(trial.steps, count=RECORDS),
        stop_at_loss_ratio=target.value if target.kind == "loss_ratio" else None,
        device=resources.device,
    )
    return asdict(outcome(curve, target, steps_per_epoch=num_samples / trial.candidate.batch_size))


_TRAIN: Any = ray.remote(max_retries=3)(_train)


def train_really(
    task_ref: Any,
    trials: Sequence[Trial],
    target: Target,
    *,
    num_samples: int,
    facts: Mapping[str, Any],
    resources: WorkerResources,
    num_workers: int,
    run: Run,
    phase: Phase,
) -> list[Outcome]:
    """The outcome of each trial; those of an earlier call are taken from the run directory.

    Args:
        task_ref: The task in the object store.
        trials: What to train.
        target: When training is done.
        num_samples: N_full.
        facts: What the task is, for the fingerprint.
        resources: Of one training.
        num_workers: Trainings at a time, at most.
        run: Where outcomes go.
        phase: Shows progress.
    """
    keys = [
        fingerprint(
            [
                dict(facts),
                trial.candidate.sort_key(),
                trial.seed,
                trial.steps,
                trial.budget,
                str(target),
                resources.totals(),
            ]
        )
        for trial in trials
    ]
    found: dict[int, Outcome] = {}
    for i, key in enumerate(keys):
        stored = run.read_json(_file(key), key)
        if stored is not None:
            found[i] = Outcome(**stored)
    todo = [i for i in range(len(trials)) if i not in found]

    def keep(number: int, result: dict[str, Any]) -> None:
        i = todo[number]
        found[i] = Outcome(**result)
        run.write_json(_file(keys[i]), result, made_from=keys[i])
        phase.advance()

    phase.expect(len(todo), "real training runs")
    trainer = _TRAIN.options(**resources.options())
    run_tasks(
        [partial(_submit, trainer, task_ref, trials[i], target, resources, num_samples) for i in todo],
        [f"Training {trials[i].candidate.config()}" for i in todo],
        on_done=keep,
        in_flight=num_workers,
    )
    return [found[i] for i in range(len(trials))]


def _submit(
    trainer: Any, task_ref: Any, trial: Trial, target: Target, resources: WorkerResources, num_samples: int, _: int
) -> Any:
    return trainer.remote(task_ref, trial, target, resources, num_samples)


def _file(key: str) -> str:
    return f"validation/{key}.json"
