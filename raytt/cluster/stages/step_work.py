"""Counting what a training step computes, on a worker: the driver may lack what the network needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import ray

from raytt.cluster.plumbing.dispatch import fetch
from raytt.cluster.plumbing.process import settle
from raytt.cluster.plumbing.progress import Phase
from raytt.pricing.work import StepWork
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
    key = fingerprint([run.inputs["probe"], "work", sizes])
    found = run.read_json("step_work.json", key)
    if found is None:
        phase.expect(1, "counting operations")
        result = fetch(_COUNT.remote(task_ref, sizes), "Counting operations")
        phase.advance()
        found = {"failed": result} if isinstance(result, str) else {"work": [asdict(w) for w in result.values()]}
        run.write_json("step_work.json", found, made_from=key)
    if "failed" in found:
        return {}, (
            f"What a training step computes could not be counted ({found['failed']}): other hardware has no times.",
        )
    return {work["batch_size"]: StepWork(**work) for work in found["work"]}, ()
