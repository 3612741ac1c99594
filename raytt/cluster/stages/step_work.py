"""Counting what a training step computes, on a worker: the driver may lack what the network needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import ray

from raytt.cluster.plumbing.cached_tasks import run_cached
from raytt.cluster.plumbing.process import settle
from raytt.cluster.plumbing.progress import Phase
from raytt.pricing.work import StepWork
from raytt.store.cache import Cache, json_cache
from raytt.store.fingerprint import fingerprint
from raytt.store.run import Run
from raytt.task.task import Task


def _count(task: Task, batch_sizes: Sequence[int]) -> dict[int, StepWork] | str:
    """The work by batch size, or why it cannot be counted."""
    settle(threads=1, gpus=0)
    # Takes seconds to import, and is wanted only here.
    from raytt.training.step_work import count_work

    try:
        return count_work(task, batch_sizes)
    except Exception as error:
        # A network may do anything with tensors that hold nothing; prices on other hardware are then not to be had.
        return f"{type(error).__name__}: {error}".splitlines()[0]


def _encode(counted: dict[int, StepWork] | str) -> dict[str, Any]:
    return {"failed": counted} if isinstance(counted, str) else {"work": [asdict(w) for w in counted.values()]}


_COUNT: Any = ray.remote(num_cpus=1, max_retries=3)(_count)


def measure_work(
    task_ref: Any, batch_sizes: Sequence[int], *, run: Run, phase: Phase
) -> tuple[dict[int, StepWork], tuple[str, ...]]:
    """The work of a step by batch size, from the run directory if it is there; and a note where it cannot be counted.

    Args:
        task_ref: The task in the object store.
        batch_sizes: Those wanted.
        run: Where counts are kept.
        phase: Shows progress.
    """
    sizes = sorted(set(batch_sizes))
    cache: Cache[Sequence[int], dict[int, StepWork] | str, dict[str, Any]] = json_cache(
        run,
        key=lambda sizes: fingerprint([run.inputs["probe"], "work", sizes]),
        file=lambda *_: "step_work.json",
        encode=_encode,
        decode=dict[str, Any],
    )
    [found] = run_cached(
        [sizes],
        cache,
        start=lambda sizes: _COUNT.remote(task_ref, sizes),
        label=lambda _: "Counting operations",
        what="counting operations",
        phase=phase,
    )
    if "failed" in found:
        return {}, (
            f"What a training step computes could not be counted ({found['failed']}): other hardware has no times.",
        )
    return {work["batch_size"]: StepWork(**work) for work in found["work"]}, ()
