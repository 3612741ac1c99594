"""Counting what a training step computes, on a worker: the driver may lack what the network needs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import ray

from raytt.cluster.plumbing.cached_tasks import run_cached
from raytt.cluster.plumbing.process import settle
from raytt.cluster.plumbing.progress import Phase
from raytt.pricing.step_key import StepKey, arguments_of, keyed, size_of
from raytt.pricing.work import StepWork
from raytt.store.cache import Cache, json_cache
from raytt.store.fingerprint import fingerprint
from raytt.store.run import Run
from raytt.task.candidate import Candidate, ModelArguments
from raytt.task.task import Task

_Network = tuple[ModelArguments, tuple[int, ...]]
"""What a network is built with, and the batch sizes wanted of it."""


def _count(task: Task, batch_sizes: Sequence[int], arguments: ModelArguments) -> dict[int, StepWork] | str:
    """The work by batch size, or why it cannot be counted."""
    settle(threads=1, gpus=0)
    # Takes seconds to import, and is wanted only here.
    from raytt.training.step_work import count_work

    try:
        return count_work(task.built_for(Candidate(lr=1.0, model_arguments=arguments)), batch_sizes)
    except Exception as error:
        # A network may do anything with tensors that hold nothing; prices on other hardware are then not to be had.
        return f"{type(error).__name__}: {error}".splitlines()[0]


def _encode(counted: dict[int, StepWork] | str) -> dict[str, Any]:
    return {"failed": counted} if isinstance(counted, str) else {"work": [asdict(w) for w in counted.values()]}


_COUNT: Any = ray.remote(num_cpus=1, max_retries=3)(_count)


def measure_work(
    task_ref: Any, keys: Iterable[StepKey], *, run: Run, phase: Phase
) -> tuple[dict[StepKey, StepWork], tuple[str, ...]]:
    """The work of a step by batch size and network, and a note where it cannot be counted.

    It is taken from the run directory if it is there.

    Args:
        task_ref: The task in the object store.
        keys: Those wanted.
        run: Where counts are kept.
        phase: Shows progress.
    """
    wanted = set(keys)
    networks: list[_Network] = [
        (arguments, tuple(sorted(size_of(key) for key in wanted if arguments_of(key) == arguments)))
        for arguments in sorted({arguments_of(key) for key in wanted}, key=repr)
    ]
    cache: Cache[_Network, dict[int, StepWork] | str, dict[str, Any]] = json_cache(
        run,
        key=lambda network: fingerprint([run.inputs["probe"], "work", *network]),
        file=lambda _, key: f"step_work/{key}.json",
        encode=_encode,
        decode=dict[str, Any],
    )
    found = run_cached(
        networks,
        cache,
        start=lambda network: _COUNT.remote(task_ref, network[1], network[0]),
        label=lambda _: "Counting operations",
        what="counting operations",
        phase=phase,
    )
    counted = {
        keyed(work["batch_size"], arguments): StepWork(**work)
        for (arguments, _), one in zip(networks, found, strict=True)
        for work in one.get("work", ())
    }
    failed = next((one["failed"] for one in found if "failed" in one), None)
    if failed is None:
        return counted, ()
    return counted, (f"What a training step computes could not be counted ({failed}): other hardware has no times.",)
