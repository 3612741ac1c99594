"""What training steps need in memory, found out on a worker: the driver may lack what the network needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ray

from raytt.cluster.plumbing.cached_tasks import run_cached
from raytt.cluster.plumbing.process import settle
from raytt.cluster.plumbing.progress import Phase
from raytt.pricing.step_memory import StepMemory
from raytt.store.cache import Cache, json_cache
from raytt.store.fingerprint import fingerprint
from raytt.store.run import Run
from raytt.task.task import Task


def _measure(task: Task, batch_sizes: Sequence[int]) -> StepMemory | str:
    """The memory, or why it cannot be told."""
    settle(threads=1, gpus=0)
    # Takes seconds to import, and is wanted only here.
    from raytt.training.peak_memory import measure_step_memory

    try:
        return measure_step_memory(task, batch_sizes)
    except Exception as error:
        # A ranking without this column is worth more than none.
        return f"{type(error).__name__}: {error}".splitlines()[0]


def _encode(found: StepMemory | str) -> dict[str, Any]:
    return {"failed": found} if isinstance(found, str) else found.to_json()


_MEASURE: Any = ray.remote(num_cpus=1, max_retries=3)(_measure)


def measure_memory(
    task_ref: Any, batch_sizes: Sequence[int], *, run: Run, phase: Phase
) -> tuple[StepMemory | None, tuple[str, ...]]:
    """The memory of steps, from the run directory if it is there; and a note where it could not be told.

    Args:
        task_ref: The task in the object store.
        batch_sizes: Those wanted.
        run: Where the answer is kept.
        phase: Shows progress.
    """
    sizes = sorted(set(batch_sizes))
    cache: Cache[Sequence[int], StepMemory | str, dict[str, Any]] = json_cache(
        run,
        key=lambda sizes: fingerprint([run.inputs["probe"], "memory", sizes]),
        file=lambda *_: "step_memory.json",
        encode=_encode,
        decode=dict[str, Any],
    )
    [found] = run_cached(
        [sizes],
        cache,
        start=lambda sizes: _MEASURE.remote(task_ref, sizes),
        label=lambda _: "Following the memory of a step",
        what="following the memory of a step",
        phase=phase,
    )
    if "failed" in found:
        return None, (f"What a training step needs in memory could not be told ({found['failed']}).",)
    memory = StepMemory.from_json(found)
    return memory, () if memory.source.startswith("computed") else (f"Memory of steps: {memory.source}.",)
