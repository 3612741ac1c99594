"""Real training of chosen candidates on Ray, several at a time, each kept as soon as it is done."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import ray

from raytt.cluster.plumbing.cached_tasks import run_cached
from raytt.cluster.plumbing.process import settle
from raytt.cluster.plumbing.progress import Phase
from raytt.cluster.plumbing.session import WorkerResources
from raytt.forecast.crossing import PathCurves
from raytt.forecast.pilots.ending import Ending
from raytt.forecast.pilots.pilot_run import PilotRun
from raytt.rates.evaluation import SAMPLES, EvaluationPlan
from raytt.rates.reference import TrainingLog, train_as_given
from raytt.rates.smoothing import first_crossing, smoothed
from raytt.results.validation import Outcome
from raytt.store.cache import Cache, json_cache
from raytt.store.fingerprint import fingerprint
from raytt.store.run import Run
from raytt.task.candidate import Candidate
from raytt.task.early_stopping import EarlyStopping
from raytt.task.rank_objective import OBJECTIVES
from raytt.task.target import ROUNDING, Target
from raytt.task.task import Task
from raytt.training.loop import TrainingCurve, record_points, train

PAST_TARGET = 0.8
"""In training mode runs go on to this share of the target: the smoothed curve around an arrival needs what follows."""
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
    initial_loss: float | None = None
    """To which a share of the initial training loss refers; None: the run's own first loss."""
    objective: str | None = None
    """Where the run is trained to its end: what early stopping looks at. None: the target ends it."""
    stopping: EarlyStopping | None = None
    """How its run is ended; None: with its budget."""


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
    if task.mode == "train":
        if trial.objective is not None:
            return asdict(_train_to_the_end(task, trial, target, resources, num_samples))
        return asdict(_train_as_given(task, trial, target, resources))
    curve = train(
        task,
        trial.candidate,
        seed=trial.seed,
        steps=trial.steps,
        schedule_steps=trial.budget,
        record_at=record_points(trial.steps, count=RECORDS),
        stop_at_loss_ratio=target.loss_ratio,
        device=resources.device,
    )
    return asdict(outcome(curve, target, steps_per_epoch=num_samples / trial.candidate.samples_per_step))


def _train_as_given(task: Task, trial: Trial, target: Target, resources: WorkerResources) -> Outcome:
    """In the user's own mode: the smoothed loss of minibatches, and quality in eval mode, as forecasts have them."""
    begin = time.perf_counter()
    evaluated = target.curve != "train_loss"
    plan = EvaluationPlan(
        at=record_points(trial.steps, count=RECORDS), train=target.curve == "train_accuracy", target=target, whole=True
    )
    log = train_as_given(
        task,
        trial.candidate,
        seed=trial.seed,
        steps=trial.steps,
        schedule_steps=trial.budget,
        # The smoothed curve needs what follows an arrival, too.
        stop_ratio=None if target.loss_ratio is None else PAST_TARGET * target.loss_ratio,
        device=resources.device,
        evaluations=plan if evaluated else None,
    )
    seconds = (time.perf_counter() - begin) / len(log.losses)
    if evaluated:
        return _evaluated_outcome(log, target, seconds)
    return _logged_outcome(log, trial, target, seconds)


def _logged_outcome(log: TrainingLog, trial: Trial, target: Target, seconds: float) -> Outcome:
    curve = smoothed(log.losses)
    level = float(target.level(float(curve[0]) if trial.initial_loss is None else trial.initial_loss))
    steps = first_crossing(np.arange(len(curve), dtype=np.float64), curve, level)
    return Outcome(
        steps=steps if math.isfinite(steps) else None,
        steps_done=len(log.losses),
        diverged=log.diverged,
        accuracy=None,
        val_accuracy=None,
        seconds_per_step=seconds,
    )


def _train_to_the_end(
    task: Task, trial: Trial, target: Target, resources: WorkerResources, num_samples: int
) -> Outcome:
    """The whole budget: quality at its end or, under early stopping, at the checkpoint that is kept.

    Training goes on past an early stop, so that the target's crossing is seen wherever it is; time is per step.
    """
    assert trial.objective is not None
    objective, at = OBJECTIVES.get(trial.objective), record_points(trial.budget, count=RECORDS)
    per_epoch = num_samples / trial.candidate.samples_per_step
    if trial.stopping is not None:
        at = np.union1d(at, trial.stopping.evaluations(trial.budget, steps_per_epoch=per_epoch))
    begin = time.perf_counter()
    log = train_as_given(
        task,
        trial.candidate,
        seed=trial.seed,
        steps=trial.budget,
        device=resources.device,
        evaluations=EvaluationPlan(at=at, train=target.curve == "train_accuracy", whole=True),
    )
    seconds = (time.perf_counter() - begin) / len(log.losses)
    if target.curve == "train_loss":
        found = _logged_outcome(log, trial, target, seconds)
    else:
        found = _evaluated_outcome(log, target, seconds)
    if log.diverged:
        return found
    names = log.evaluated[0][1].curves()
    ending = Ending(
        run=PilotRun(candidate=trial.candidate, budget=trial.budget, losses=log.losses, diverged=False),
        steps=np.asarray([step for step, _ in log.evaluated], dtype=np.float64),
        curves={name: np.asarray([m.curves()[name] for _, m in log.evaluated]) for name in names},
    )
    final, end, _ = ending.final(objective, trial.stopping, steps_per_epoch=per_epoch)
    return replace(found, final=final, run_steps=end)


def met_at(log: TrainingLog, target: Target) -> float:
    """The step at which a run met a target on a curve that was evaluated, interpolated; +inf if it did not."""
    at = np.asarray([step for step, _ in log.evaluated], dtype=np.float64)
    curve = np.asarray([metrics.curves()[target.curve] for _, metrics in log.evaluated])
    sign = -1.0 if target.on_accuracy else 1.0
    level = float(target.level(float(curve[0]))) - (ROUNDING if target.on_accuracy else 0.0)
    return first_crossing(at, sign * curve, sign * level)


def _evaluated_outcome(log: TrainingLog, target: Target, seconds: float) -> Outcome:
    at = np.asarray([step for step, _ in log.evaluated], dtype=np.float64)
    curves = {name: np.asarray([m.curves()[name] for _, m in log.evaluated]) for name in log.evaluated[0][1].curves()}
    steps = met_at(log, target)
    end = min(steps, float(at[-1]))
    accuracies = [
        float(np.interp(end, at, curves[name])) if name in curves else None
        for name in ("train_accuracy", "val_accuracy")
    ]
    return Outcome(
        steps=steps if math.isfinite(steps) else None,
        steps_done=len(log.losses),
        diverged=log.diverged,
        accuracy=accuracies[0],
        val_accuracy=accuracies[1],
        seconds_per_step=seconds,
    )


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

    def key(trial: Trial) -> str:
        asked = [trial.candidate.sort_key(), trial.seed, trial.steps, trial.budget, str(target), resources.totals()]
        if trial.initial_loss is not None:
            asked.append(trial.initial_loss)
        if target.curve != "train_loss" or trial.objective is not None:
            asked.append(SAMPLES)
        if trial.objective is not None:
            asked += [trial.objective, str(trial.stopping)]
        return fingerprint([dict(facts), *asked])

    cache: Cache[Trial, dict[str, Any], Outcome] = json_cache(
        run,
        key=key,
        file=lambda _, key: f"validation/{key}.json",
        encode=dict[str, Any],
        decode=lambda stored: Outcome(**stored),
    )
    trainer = _TRAIN.options(**resources.options())
    return run_cached(
        trials,
        cache,
        start=lambda trial: trainer.remote(task_ref, trial, target, resources, num_samples),
        label=lambda trial: f"Training {trial.candidate.config()}",
        what="real training runs",
        phase=phase,
        in_flight=num_workers,
    )
