"""Reference runs in training mode on Ray: one task per optimizer family, its saved states in the run directory."""

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
from raytt.forecast.training_reference import TrainingReference
from raytt.rates.evaluation import SAMPLES, EvaluationPlan, Metrics, spaced
from raytt.rates.reference_search import find_reference
from raytt.store.run import Arrays, FileRecord, Run
from raytt.task.candidate import Candidate
from raytt.task.target import Target
from raytt.task.task import Task
from raytt.training.state import Entry, pack

PAST_TARGET = 0.5
"""Share of the steps to an evaluated target by which a reference run goes on beyond it. Candidates with more noise meet
the target further along the path: fine-tuning a language model with adapters 6 of 16 did, beyond the end of a run that
stopped at the target, where nothing is known of validation curves (``python -m raytt rank raytt.examples.lora``)."""
STATE = "state"
"""The array of a saved state's bytes."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SavedReference(TrainingReference):
    """A finished reference run, with what it left in the run directory."""

    entries: tuple[Entry, ...]
    """Where each tensor lies among the bytes of a state."""
    states: tuple[FileRecord, ...]
    """Files of its saved states, in order."""
    made_from: str
    """Fingerprint of all that it depends on."""


@dataclass(frozen=True, kw_only=True)
class TrainingPlan(ReferencePlan):
    """What is asked of a reference run in training mode."""

    target: Target | None
    """The target where it is on a curve that is evaluated: met, it ends the run."""
    evaluates: bool
    """Whether quality is evaluated in eval mode on the way."""
    ends_at_target: bool = True
    """Whether the target ends the run."""

    def identity(self) -> dict[str, Any]:
        goal = {} if self.target is None else {"past_target": PAST_TARGET}
        samples = {"evaluated": list(SAMPLES)} if self.evaluates else {}
        return super().identity() | {"target": None if self.target is None else str(self.target)} | goal | samples

    def evaluations(self) -> EvaluationPlan | None:
        """When it is."""
        if not self.evaluates:
            return None
        train = self.target is not None and not self.target.needs_validation
        ends = self.target if self.ends_at_target else None
        return EvaluationPlan(at=spaced(self.most_steps), train=train, target=ends, past=PAST_TARGET)


def _run(task: Task, plan: TrainingPlan, resources: WorkerResources) -> tuple[dict[str, Any], list[Arrays]]:
    settle(threads=resources.cpus, gpus=resources.gpus)
    found = find_reference(
        task,
        plan.candidate,
        seed=plan.seed,
        stop_ratio=plan.stop_ratio,
        num_points=plan.num_waypoints,
        most_steps=plan.most_steps,
        goal=plan.goal,
        device=resources.device,
        evaluations=plan.evaluations(),
    )
    packed = [pack(point.state) for point in found.log.points]
    summary = {
        "config": found.log.candidate.config(),
        "losses": found.log.losses.tolist(),
        "times": found.log.times.tolist(),
        "states": len(packed),
        "evaluated": [[step, asdict(metrics)] for step, metrics in found.log.evaluated],
        "point_steps": [point.step for point in found.log.points],
        "entries": [entry.to_json() for entry in packed[0][1]],
        "wasted_steps": found.wasted_steps,
        "stopped": found.stopped,
    }
    return summary, [{STATE: data} for data, _ in packed]


_RUN: Any = ray.remote(num_returns=2, max_retries=3)(_run)


def run_training_references(
    task_ref: Any,
    plans: Sequence[TrainingPlan],
    *,
    resources: WorkerResources,
    run: Run,
    files: Files,
    phase: Phase,
    folder: str = "training",
) -> list[SavedReference]:
    """The reference run of each plan, trained or from the run directory.

    Args:
        task_ref: The task in the object store.
        plans: One per optimizer family.
        resources: Of a training.
        run: Where they go.
        files: Its Arrow files.
        phase: Shows progress.
        folder: Below the run directory, where they are kept, one per family.

    Raises:
        InputError: If the loss of one falls at none of the learning rates tried.
    """
    runner = _RUN.options(**resources.options())
    return run_kept(
        plans,
        folder=folder,
        facts=[run.inputs["probe"], "training mode"],
        submit=lambda plan: runner.remote(task_ref, plan, resources),
        read=_read,
        run=run,
        files=files,
        phase=phase,
    )


def _read(summary: dict[str, Any], states: tuple[FileRecord, ...], made_from: str) -> SavedReference:
    return SavedReference(
        candidate=Candidate.from_config(summary["config"]),
        losses=np.asarray(summary["losses"], dtype=np.float64),
        times=np.asarray(summary["times"], dtype=np.float64),
        point_steps=tuple(summary["point_steps"]),
        evaluated=tuple((step, Metrics(**metrics)) for step, metrics in summary["evaluated"]),
        entries=tuple(Entry.from_json(entry) for entry in summary["entries"]),
        states=states,
        wasted_steps=summary["wasted_steps"],
        stopped=summary["stopped"],
        made_from=made_from,
    )


def state_ref(reference: SavedReference, point: int, files: Files) -> Any:
    """Ref of the arrays of a saved state."""
    return files.load(reference.states[point], (STATE,))


def state_bytes(arrays: Arrays) -> NDArray[np.uint8]:
    """The bytes of a saved state."""
    return np.asarray(arrays[STATE], dtype=np.uint8)
