"""Pilots to the ends of their budgets on Ray, evaluated on the way; each is kept as soon as it is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import ray

from raytt.cluster.plumbing.process import settle
from raytt.cluster.plumbing.progress import Phase
from raytt.cluster.plumbing.session import WorkerResources
from raytt.cluster.stages.pilot_logs import log_to_json, run_from_json, train_logged
from raytt.forecast.pilots.ending import Ending
from raytt.rates.evaluation import SAMPLES, EvaluationPlan, Metrics
from raytt.rates.reference import train_as_given
from raytt.store.fingerprint import fingerprint
from raytt.store.run import Run
from raytt.task.candidate import Candidate
from raytt.task.task import Task


@dataclass(frozen=True, kw_only=True)
class EndingPlan:
    """A candidate to be trained to the end of its budget."""

    candidate: Candidate
    """Its configuration."""
    seed: int
    """Of all that is drawn."""
    budget: int
    """Its steps."""
    at: tuple[int, ...]
    """Updates after which it is evaluated; none: never."""


def _train(task: Task, plan: EndingPlan, resources: WorkerResources) -> dict[str, Any]:
    settle(threads=resources.cpus, gpus=resources.gpus)
    log = train_as_given(
        task,
        plan.candidate,
        seed=plan.seed,
        steps=plan.budget,
        device=resources.device,
        evaluations=EvaluationPlan(at=plan.at, whole=True) if plan.at else None,
    )
    evaluated = [] if log.diverged else [[step, asdict(metrics)] for step, metrics in log.evaluated]
    return log_to_json(log) | {"evaluated": evaluated}


_TRAIN: Any = ray.remote(max_retries=3)(_train)


def run_endings(
    task_ref: Any,
    plans: Sequence[EndingPlan],
    *,
    facts: Mapping[str, Any],
    resources: WorkerResources,
    num_workers: int,
    run: Run,
    phase: Phase,
) -> list[Ending]:
    """The run of each plan; those of an earlier call are taken from the run directory.

    Args:
        task_ref: The task in the object store.
        plans: What to train.
        facts: What the task is, for the fingerprint.
        resources: Of one training.
        num_workers: Trainings at a time, at most.
        run: Where runs are kept.
        phase: Shows progress.
    """

    def key(plan: EndingPlan) -> str:
        asked = [plan.candidate.sort_key(), plan.seed, plan.budget, list(plan.at), SAMPLES, resources.totals()]
        return fingerprint([dict(facts), "ending", *asked])

    found = train_logged(
        task_ref,
        plans,
        train=_TRAIN,
        key=key,
        folder="endings",
        steps=lambda plan: plan.budget,
        resources=resources,
        num_workers=num_workers,
        run=run,
        phase=phase,
    )
    return [_ending(plan, one) for plan, one in zip(plans, found, strict=True)]


def _ending(plan: EndingPlan, stored: dict[str, Any]) -> Ending:
    rows = [(step, Metrics(**metrics).curves()) for step, metrics in stored["evaluated"]]
    return Ending(
        run=run_from_json(plan, stored),
        # Without evaluations the training loss alone, at every step.
        steps=np.asarray([step for step, _ in rows] or range(plan.budget + 1), dtype=np.float64),
        curves={name: np.asarray([found[name] for _, found in rows]) for name in rows[0][1]} if rows else {},
    )
