"""The reference runs on Ray: one task per optimizer family, its waypoints in the run directory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray

from raytt.cluster.plumbing.dispatch import fetch
from raytt.cluster.plumbing.process import settle
from raytt.cluster.plumbing.progress import Phase
from raytt.cluster.plumbing.run_files import Files
from raytt.cluster.plumbing.session import WorkerResources
from raytt.dynamics.adam import Preconditioner
from raytt.forecast.reference_check import ReferenceCurve
from raytt.store.fingerprint import fingerprint
from raytt.store.run import Arrays, FileRecord, Run
from raytt.task.candidate import Candidate
from raytt.task.task import Task
from raytt.training.reference_run import common_scale, run_reference

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class ReferencePlan:
    """What is asked of a reference run."""

    candidate: Candidate
    """Where it begins: optimizer, batch size, and a first guess of the learning rate."""
    seed: int
    """Of its minibatches."""
    stop_ratio: float
    """Loss ratio at which it stops."""
    num_waypoints: int
    """Tangents besides the one at the pre-trained weights, S."""
    most_steps: int
    """Steps, restarts included, after which it stops all the same."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Reference(ReferenceCurve):
    """A finished reference run, with what it left in the run directory."""

    waypoint_steps: tuple[int, ...]
    """Steps of its waypoints."""
    waypoints: tuple[FileRecord, ...]
    """Files of its waypoints: arrays of `raytt.probe.worker.Point`."""
    preconditioner: Preconditioner | None
    """Size of adamw's; None for sgd."""
    seconds: float
    """What it took."""
    made_from: str
    """Fingerprint of all that it depends on."""


def _run(
    task: Task, plan: ReferencePlan, eval_index: NDArray[np.int64], resources: WorkerResources
) -> tuple[dict[str, Any], list[Arrays]]:
    settle(threads=resources.cpus, gpus=resources.gpus)
    found = run_reference(
        task,
        plan.candidate,
        seed=plan.seed,
        stop_ratio=plan.stop_ratio,
        num_waypoints=plan.num_waypoints,
        most_steps=plan.most_steps,
        eval_index=eval_index,
        device=resources.device,
    )
    common = common_scale(found.waypoints)
    arrays = []
    for waypoint in found.waypoints:
        point: Arrays = {"weights": waypoint.weights}
        if waypoint.scale is not None and common is not None:
            point |= {"scale": waypoint.scale, "common": common}
        arrays.append(point)
    summary = {
        "config": found.candidate.config(),
        "steps": found.steps.tolist(),
        "losses": found.losses.tolist(),
        "waypoint_steps": [w.step for w in found.waypoints],
        "preconditioner": None if found.preconditioner is None else asdict(found.preconditioner),
        "wasted_steps": found.wasted_steps,
        "seconds": found.seconds,
        "stopped": found.stopped,
    }
    return summary, arrays


_RUN: Any = ray.remote(num_returns=2, max_retries=3)(_run)


def run_references(
    task_ref: Any,
    plans: Sequence[ReferencePlan],
    *,
    eval_index: NDArray[np.int64],
    resources: WorkerResources,
    run: Run,
    files: Files,
    phase: Phase,
) -> list[Reference]:
    """The reference run of each plan, from the run directory where it is there.

    Args:
        task_ref: The task in the object store.
        plans: One per optimizer family.
        eval_index: Positions of the probed training samples.
        resources: Of the worker that trains.
        run: Where results go.
        files: Its Arrow files.
        phase: Shows progress.
    """
    keys = [fingerprint([run.inputs["probe"], vars(plan) | {"candidate": plan.candidate.sort_key()}]) for plan in plans]
    found = {i: r for i, key in enumerate(keys) if (r := _stored(run, files, plans[i], key)) is not None}
    todo = [i for i in range(len(plans)) if i not in found]
    phase.expect(len(todo), "real training steps")
    for i in todo:
        # One after the other: each may use the whole of a worker.
        summary_ref, arrays_ref = _RUN.options(**resources.options()).remote(task_ref, plans[i], eval_index, resources)
        family = plans[i].candidate.optimizer
        summary = fetch(summary_ref, f"The reference run with {family}")
        for number, arrays in enumerate(ray.get(arrays_ref), start=1):
            file = _file(family, number)
            run.record(fetch(files.save(file, ray.put(arrays), made_from=keys[i]), f"Writing {file}"))
        run.write_json(_summary(family), summary, made_from=keys[i])
        stored = _stored(run, files, plans[i], keys[i])
        assert stored is not None
        found[i] = stored
        phase.advance()
    return [found[i] for i in range(len(plans))]


def _stored(run: Run, files: Files, plan: ReferencePlan, key: str) -> Reference | None:
    """What an earlier run left, if all of it is there undamaged."""
    family = plan.candidate.optimizer
    summary = run.read_json(_summary(family), key)
    if summary is None:
        return None
    names = [_file(family, number) for number in range(1, len(summary["waypoint_steps"]) + 1)]
    records = [record for name in names if (record := run.recorded(name, key)) is not None]
    if len(files.intact(records)) < len(names):
        return None
    known = summary["preconditioner"]
    return Reference(
        candidate=Candidate.from_config(summary["config"]),
        steps=np.asarray(summary["steps"], dtype=np.int64),
        losses=np.asarray(summary["losses"], dtype=np.float64),
        waypoint_steps=tuple(summary["waypoint_steps"]),
        waypoints=tuple(records),
        preconditioner=None if known is None else Preconditioner(**known),
        wasted_steps=summary["wasted_steps"],
        seconds=summary["seconds"],
        stopped=summary["stopped"],
        made_from=key,
    )


def _file(family: str, number: int) -> str:
    return f"reference/{family}-{number}.arrow"


def _summary(family: str) -> str:
    return f"reference/{family}.json"
