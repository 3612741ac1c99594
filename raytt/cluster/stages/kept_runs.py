"""Short real training runs as Ray tasks, kept in the run directory: a summary, and a file of arrays per state."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import ray

from raytt.cluster.plumbing.cached_tasks import run_cached
from raytt.cluster.plumbing.dispatch import fetch
from raytt.cluster.plumbing.progress import Phase
from raytt.cluster.plumbing.run_files import Files, intact_records
from raytt.store.cache import Cache
from raytt.store.fingerprint import fingerprint
from raytt.store.run import FileRecord, Run
from raytt.task.candidate import Candidate

Kept = TypeVar("Kept")


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
    """Saved states besides the one at the pre-trained weights, S."""
    most_steps: int
    """Steps, restarts included, after which it stops all the same."""
    goal: float | None = None
    """The loss aimed at, where losses may be negative; None: ratios say enough."""

    def identity(self) -> dict[str, Any]:
        """What is set of it as plain values, for a key."""
        return {k: v for k, v in vars(self).items() if v is not None} | {"candidate": self.candidate.sort_key()}

    @property
    def family(self) -> str:
        """What it stands for: an optimizer, with the arguments of the model where there are any."""
        return self.candidate.family

    @property
    def file_name(self) -> str:
        """The same for the names of its files."""
        arguments = self.candidate.model_arguments
        name = self.candidate.optimizer.name
        return f"{name}-{fingerprint(arguments)[:8]}" if arguments else name


def run_kept(
    plans: Sequence[ReferencePlan],
    *,
    folder: str,
    facts: Sequence[Any],
    submit: Callable[[ReferencePlan], tuple[Any, Any]],
    read: Callable[[dict[str, Any], tuple[FileRecord, ...], str], Kept],
    run: Run,
    files: Files,
    phase: Phase,
) -> list[Kept]:
    """The run of each plan, trained or from the run directory.

    Args:
        plans: One per optimizer family.
        folder: Below the run directory, where its files are kept.
        facts: What all runs depend on besides their plans.
        submit: Starts a run; gives the refs of its summary (plain values, with the states' number under "states") and
            of its states' arrays.
        read: Makes the result from a summary, the states' files and the fingerprint.
        run: The run directory.
        files: Its Arrow files.
        phase: Shows progress.
    """
    large: dict[str, Any] = {}

    def start(plan: ReferencePlan) -> Any:
        summary, large[plan.family] = submit(plan)
        return summary

    def stored(plan: ReferencePlan, key: str) -> Kept | None:
        """What an earlier run left, if all of it is there undamaged."""
        summary = run.read_json(f"{folder}/{plan.file_name}.json", key)
        if summary is None:
            return None
        names = [f"{folder}/{plan.file_name}-{number}.arrow" for number in range(1, summary["states"] + 1)]
        records = intact_records(run, files, dict.fromkeys(names, key))
        return read(summary, tuple(records[name] for name in names), key) if len(records) == len(names) else None

    def write(plan: ReferencePlan, key: str, summary: dict[str, Any]) -> Kept:
        for number, arrays in enumerate(fetch(large.pop(plan.family), _label(plan)), start=1):
            file = f"{folder}/{plan.file_name}-{number}.arrow"
            run.record(fetch(files.save(file, ray.put(arrays), made_from=key), f"Writing {file}"))
        run.write_json(f"{folder}/{plan.file_name}.json", summary, made_from=key)
        kept = stored(plan, key)
        assert kept is not None
        return kept

    return run_cached(
        plans,
        Cache(
            key=lambda plan: fingerprint([*facts, plan.identity()]),
            read=stored,
            write=write,
        ),
        start=start,
        label=_label,
        what="real training steps",
        phase=phase,
        # One after the other: each may use the whole of a worker.
        in_flight=1,
        # How long one takes says nothing about another: learning rates that fail are tried first.
        hang_seconds=math.inf,
    )


def _label(plan: ReferencePlan) -> str:
    return f"The reference run with {plan.family}"
