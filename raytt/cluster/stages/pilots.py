"""Pilots on Ray: candidates trained for real towards the target, several at a time, each kept as soon as it is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import ray

from raytt.cluster.plumbing.process import settle
from raytt.cluster.plumbing.progress import Phase
from raytt.cluster.plumbing.session import WorkerResources
from raytt.cluster.stages.pilot_logs import log_to_json, run_from_json, train_logged
from raytt.cluster.stages.train_candidates import PAST_TARGET, met_at
from raytt.forecast.pilots.pilot_run import PilotRun
from raytt.rates.evaluation import SAMPLES, EvaluationPlan
from raytt.rates.reference import train_as_given
from raytt.store.fingerprint import fingerprint
from raytt.store.run import Run
from raytt.task.candidate import Candidate
from raytt.task.target import Target
from raytt.task.task import Task
from raytt.training.loop import record_points

EVALUATIONS = 40
"""Evaluations of a pilot to the end of its steps, at most, where the target is on a curve that is evaluated."""


@dataclass(frozen=True, kw_only=True)
class PilotPlan:
    """A candidate to be trained, and how far."""

    candidate: Candidate
    """Its configuration."""
    seed: int
    """Of its minibatches and of everything else that is drawn."""
    budget: int
    """Steps at which its schedule ends."""
    steps: int
    """Steps after which it is given up, at most the budget."""
    ratio: float
    """The target as a share of the initial loss: the run goes on to `PAST_TARGET` times it."""
    target: Target | None = None
    """Where it is on a curve that is evaluated: met, it ends the run."""


def _train(task: Task, plan: PilotPlan, resources: WorkerResources) -> dict[str, Any]:
    settle(threads=resources.cpus, gpus=resources.gpus)
    log = train_as_given(
        task,
        plan.candidate,
        seed=plan.seed,
        steps=plan.steps,
        schedule_steps=plan.budget,
        stop_ratio=PAST_TARGET * plan.ratio if plan.target is None else None,
        device=resources.device,
        evaluations=None
        if plan.target is None
        else EvaluationPlan(
            at=record_points(plan.steps, count=EVALUATIONS),
            train=plan.target.curve == "train_accuracy",
            target=plan.target,
        ),
    )
    met = None if plan.target is None or not log.met else met_at(log, plan.target)
    return log_to_json(log) | {"met": met}


_TRAIN: Any = ray.remote(max_retries=3)(_train)


def run_pilots(
    task_ref: Any,
    plans: Sequence[PilotPlan],
    *,
    facts: Mapping[str, Any],
    resources: WorkerResources,
    num_workers: int,
    run: Run,
    phase: Phase,
) -> list[PilotRun]:
    """The run of each pilot; those of an earlier call are taken from the run directory.

    Args:
        task_ref: The task in the object store.
        plans: What to train.
        facts: What the task is, for the fingerprint.
        resources: Of one training.
        num_workers: Trainings at a time, at most.
        run: Where runs are kept.
        phase: Shows progress.
    """

    def key(plan: PilotPlan) -> str:
        asked = [plan.candidate.sort_key(), plan.seed, plan.budget, plan.steps, plan.ratio, resources.totals()]
        if plan.target is not None:
            asked += [str(plan.target), SAMPLES]
        return fingerprint([dict(facts), "pilot", *asked])

    found = train_logged(
        task_ref,
        plans,
        train=_TRAIN,
        key=key,
        folder="pilots",
        steps=lambda plan: plan.steps,
        resources=resources,
        num_workers=num_workers,
        run=run,
        phase=phase,
    )
    return [
        replace(run_from_json(plan, one), target=plan.target, met=one.get("met"))
        for plan, one in zip(plans, found, strict=True)
    ]
