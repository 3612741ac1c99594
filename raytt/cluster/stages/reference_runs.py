"""The reference runs on Ray: one task per optimizer family, its waypoints in the run directory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray

from raytt.cluster.plumbing.process import settle
from raytt.cluster.plumbing.progress import Phase
from raytt.cluster.plumbing.run_files import Files
from raytt.cluster.plumbing.session import WorkerResources
from raytt.cluster.stages.kept_runs import ReferencePlan, run_kept
from raytt.dynamics.steppers import Preconditioner
from raytt.forecast.reference_check import ReferenceCurve
from raytt.store.run import Arrays, FileRecord, Run
from raytt.task.candidate import Candidate
from raytt.task.task import Task
from raytt.training.reference_run import common_scale, run_reference

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Reference(ReferenceCurve):
    """A finished reference run, with what it left in the run directory."""

    waypoint_steps: tuple[int, ...]
    """Steps of its waypoints."""
    waypoints: tuple[FileRecord, ...]
    """Files of its waypoints: arrays of `raytt.probe.worker.Point`."""
    preconditioner: Preconditioner | None
    """Of an adaptive optimizer; None for others."""
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
        "states": len(arrays),
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
    runner = _RUN.options(**resources.options())
    return run_kept(
        plans,
        folder="reference",
        facts=[run.inputs["probe"]],
        submit=lambda plan: runner.remote(task_ref, plan, eval_index, resources),
        read=_read,
        run=run,
        files=files,
        phase=phase,
    )


def _read(summary: dict[str, Any], waypoints: tuple[FileRecord, ...], made_from: str) -> Reference:
    known = summary["preconditioner"]
    return Reference(
        candidate=Candidate.from_config(summary["config"]),
        steps=np.asarray(summary["steps"], dtype=np.int64),
        losses=np.asarray(summary["losses"], dtype=np.float64),
        waypoint_steps=tuple(summary["waypoint_steps"]),
        waypoints=waypoints,
        preconditioner=None if known is None else Preconditioner(**known),
        wasted_steps=summary["wasted_steps"],
        seconds=summary["seconds"],
        stopped=summary["stopped"],
        made_from=made_from,
    )
