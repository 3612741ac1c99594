"""How running statistics lag behind, measured on Ray: one task per reference run whose quality is evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ray

from raytt.cluster.plumbing.cached_tasks import run_cached
from raytt.cluster.plumbing.process import settle
from raytt.cluster.plumbing.progress import Phase
from raytt.cluster.plumbing.run_files import Files
from raytt.cluster.plumbing.session import WorkerResources
from raytt.cluster.stages.training_references import SavedReference, state_bytes, state_ref
from raytt.rates.lag import LagTable
from raytt.rates.lag_measurement import measure_lag
from raytt.store.cache import Cache, json_cache
from raytt.store.fingerprint import fingerprint
from raytt.store.run import Arrays, Run
from raytt.task.candidate import Candidate
from raytt.task.task import Task
from raytt.training.state import Entry, unpack


def _measure(
    task: Task,
    entries: Sequence[Entry],
    times: Sequence[float],
    candidate: Candidate,
    seed: int,
    train: bool,
    resources: WorkerResources,
    *states: Arrays,
) -> dict[str, Any]:
    settle(threads=resources.cpus, gpus=resources.gpus)
    found = measure_lag(
        task.built_for(candidate),
        [unpack(state_bytes(arrays), entries) for arrays in states],
        times,
        batch_size=candidate.batch_size,
        seed=seed,
        train=train,
        device=resources.device,
    )
    return {"table": None if found is None else found.to_json()}


_MEASURE: Any = ray.remote(max_retries=3)(_measure)


def measure_lags(
    task_ref: Any,
    references: Sequence[SavedReference],
    *,
    train: bool,
    seed: int,
    resources: WorkerResources,
    num_workers: int,
    run: Run,
    files: Files,
    phase: Phase,
) -> list[LagTable | None]:
    """The table of each reference run, measured or from the run directory; None for networks without such statistics.

    Args:
        task_ref: The task in the object store.
        references: Finished runs.
        train: Whether the part of the training data is evaluated, too.
        seed: Of all draws.
        resources: Of one task.
        num_workers: Tasks at a time.
        run: Where tables are kept.
        files: Its Arrow files.
        phase: Shows progress.
    """
    cache: Cache[SavedReference, dict[str, Any], tuple[LagTable | None]] = json_cache(
        run,
        key=lambda reference: fingerprint([reference.made_from, "lag", seed, train]),
        file=lambda _, key: f"rates/{key}.json",
        encode=dict[str, Any],
        # In a tuple, as None means to a cache that nothing is stored.
        decode=lambda stored: (None if stored["table"] is None else LagTable.from_json(stored["table"]),),
    )
    worker = _MEASURE.options(**resources.options())
    found = run_cached(
        references,
        cache,
        start=lambda reference: worker.remote(
            task_ref,
            reference.entries,
            [float(reference.times[step]) for step in reference.point_steps],
            reference.candidate,
            seed,
            train,
            resources,
            *(state_ref(reference, point, files) for point in range(len(reference.states))),
        ),
        label=lambda reference: f"Running statistics along the reference run with {reference.family}",
        what="evaluations with lagging batch-norm statistics",
        phase=phase,
        in_flight=num_workers,
    )
    return [table for (table,) in found]
