"""Seconds per training step, measured on one worker while no other works."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import ray

from raytt.cluster.plumbing.cached_tasks import run_cached
from raytt.cluster.plumbing.process import settle
from raytt.cluster.plumbing.progress import Phase
from raytt.cluster.plumbing.session import WorkerResources
from raytt.pricing.step_time import StepTime
from raytt.store.cache import Cache, json_cache
from raytt.store.fingerprint import fingerprint
from raytt.store.run import Run
from raytt.task.task import Task
from raytt.training.step_timer import time_steps

MOST_MEASURED = 4
"""Batch sizes that are measured; those between them follow from a straight line."""
SECONDS_PER_SIZE = 5.0
"""No further step is begun after this long."""


def _time(task: Task, batch_size: int, resources: WorkerResources) -> StepTime:
    """Time steps of momentum SGD."""
    settle(threads=resources.cpus, gpus=resources.gpus)
    return time_steps(task, batch_size, max_seconds=SECONDS_PER_SIZE, device=resources.device)


_TIME: Any = ray.remote(max_retries=3)(_time)


def measure_step_times(
    task_ref: Any,
    batch_sizes: Sequence[int],
    *,
    resources: WorkerResources,
    run: Run,
    phase: Phase,
) -> dict[int, StepTime]:
    """Step times by batch size; those of an earlier run of the same name are taken as they are.

    Up to `MOST_MEASURED` batch sizes are timed one after the other on one worker. Of more, the smallest, the largest
    and some evenly between are timed, and the others follow from a least-squares line a + b·B through them.

    Args:
        task_ref: The task in the object store.
        batch_sizes: Those wanted.
        resources: Of the machine that is timed.
        run: Where measurements are kept.
        phase: Shows progress.
    """
    wanted = sorted(set(batch_sizes))
    chosen = sorted({wanted[round(i)] for i in np.linspace(0, len(wanted) - 1, min(MOST_MEASURED, len(wanted)))})
    cache: Cache[int, StepTime, StepTime] = json_cache(
        run,
        key=lambda size: fingerprint([run.inputs["probe"], resources.totals(), size]),
        file=lambda _, key: f"step_times/{key}.json",
        encode=asdict,
        decode=lambda stored: StepTime(**stored),
    )
    timer = _TIME.options(**resources.options())
    times = run_cached(
        chosen,
        cache,
        start=lambda size: timer.remote(task_ref, size, resources),
        label=lambda size: f"Timing steps with batch size {size}",
        what="timing real training steps",
        phase=phase,
        in_flight=1,
    )
    measured = dict(zip(chosen, times, strict=True))
    return {size: measured[size] if size in measured else _between(size, measured) for size in wanted}


def _between(size: int, measured: Mapping[int, StepTime]) -> StepTime:
    """The line through the measured medians, with the widest of their relative intervals."""
    sizes = np.array(sorted(measured), dtype=np.float64)
    medians = np.array([measured[int(b)].seconds for b in sizes])
    slope, offset = np.polyfit(sizes, medians, 1)
    # A noisy machine can tilt the line below what was measured at the smallest size.
    seconds = max(float(offset + slope * size), float(medians.min()))
    low = min(t.low / t.seconds for t in measured.values())
    high = max(t.high / t.seconds for t in measured.values())
    listed = ", ".join(str(b) for b in sorted(measured))
    return StepTime(
        batch_size=size,
        seconds=seconds,
        low=low * seconds,
        high=high * seconds,
        source=f"straight line through the times at batch sizes {listed} ({next(iter(measured.values())).source})",
        device=next(iter(measured.values())).device,
    )
