"""Candidates trained on Ray, several at a time: what each logged is kept as soon as it is done."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np

from raytt.cluster.plumbing.cached_tasks import run_cached
from raytt.cluster.plumbing.progress import Phase
from raytt.cluster.plumbing.session import WorkerResources
from raytt.forecast.pilots.pilot_run import PilotRun
from raytt.rates.reference import TrainingLog
from raytt.store.cache import Cache, json_cache
from raytt.store.run import Run
from raytt.task.candidate import Candidate


class PilotRequest(Protocol):
    """What is asked of a pilot."""

    @property
    def candidate(self) -> Candidate:
        """Its configuration."""
        ...

    @property
    def budget(self) -> int:
        """Steps at which its schedule ends."""
        ...


Plan = TypeVar("Plan", bound=PilotRequest)


def log_to_json(log: TrainingLog) -> dict[str, Any]:
    """Losses and divergence of a run as plain values; JSON has no infinity."""
    losses = [value if math.isfinite(value) else None for value in log.losses.tolist()]
    return {"losses": losses, "diverged": log.diverged}


def run_from_json(plan: PilotRequest, stored: dict[str, Any]) -> PilotRun:
    """The run of a plan, of which `log_to_json` wrote the log."""
    return PilotRun(
        candidate=plan.candidate,
        budget=plan.budget,
        losses=np.asarray([np.inf if x is None else x for x in stored["losses"]], dtype=np.float64),
        diverged=stored["diverged"],
    )


def train_logged(
    task_ref: Any,
    plans: Sequence[Plan],
    *,
    train: Any,
    key: Callable[[Plan], str],
    folder: str,
    steps: Callable[[Plan], int],
    resources: WorkerResources,
    num_workers: int,
    run: Run,
    phase: Phase,
) -> list[dict[str, Any]]:
    """What the run of each plan logged; those of an earlier call are taken from the run directory.

    Args:
        task_ref: The task in the object store.
        plans: What to train.
        train: The Ray function of task, plan and resources that trains one and gives plain values.
        key: The fingerprint of a plan.
        folder: Below the run directory, where logs are kept.
        steps: How many a plan takes at most.
        resources: Of one training.
        num_workers: Trainings at a time, at most.
        run: The run directory.
        phase: Shows progress.
    """
    cache: Cache[Plan, dict[str, Any], dict[str, Any]] = json_cache(
        run, key=key, file=lambda _, key: f"{folder}/{key}.json", encode=dict[str, Any], decode=dict[str, Any]
    )
    trainer = train.options(**resources.options())
    return run_cached(
        plans,
        cache,
        start=lambda plan: trainer.remote(task_ref, plan, resources),
        label=lambda plan: f"Pilot {plan.candidate.config()}",
        what="pilots",
        phase=phase,
        in_flight=num_workers,
        # The longest first, so that no worker starts one when the others have nothing left.
        order=lambda plan: -steps(plan) * plan.candidate.samples_per_step,
    )
