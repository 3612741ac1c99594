"""Seconds per training step, measured on one worker while no other works."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import ray

from raytt.cluster.plumbing.cached_tasks import run_cached
from raytt.cluster.plumbing.process import settle
from raytt.cluster.plumbing.progress import Phase
from raytt.cluster.plumbing.session import WorkerResources
from raytt.pricing.step_key import StepKey, arguments_of, by_size, in_words, keyed, size_of
from raytt.pricing.step_time import StepTime
from raytt.store.cache import Cache, json_cache
from raytt.store.fingerprint import fingerprint
from raytt.store.run import Run
from raytt.task.candidate import Candidate
from raytt.task.task import Task
from raytt.training.step_timer import time_steps

MOST_MEASURED = 4
"""Batch sizes that are measured; those between them follow from a straight line."""
MOST_PER_NETWORK = 2
"""The same of each where candidates differ in the network: the ends of the line, so that many networks cost little."""
SECONDS_PER_SIZE = 5.0
"""No further step is begun after this long."""


def _time(task: Task, key: StepKey, resources: WorkerResources) -> StepTime:
    """Time steps of momentum SGD."""
    settle(threads=resources.cpus, gpus=resources.gpus)
    candidate = Candidate(lr=1.0, momentum=0.9, batch_size=size_of(key), model_arguments=arguments_of(key))
    return time_steps(task, candidate, max_seconds=SECONDS_PER_SIZE, device=resources.device)


_TIME: Any = ray.remote(max_retries=3)(_time)


def measure_step_times(
    task_ref: Any,
    keys: Iterable[StepKey],
    *,
    resources: WorkerResources,
    run: Run,
    phase: Phase,
) -> dict[StepKey, StepTime]:
    """Step times by batch size and network; those of an earlier run of the same name are taken as they are.

    Up to `MOST_MEASURED` batch sizes are timed one after the other on one worker, of several networks
    `MOST_PER_NETWORK` each. Of more, the smallest, the largest and some evenly between are timed, and the others follow
    from a least-squares line a + b·B through them.

    Args:
        task_ref: The task in the object store.
        keys: Those wanted.
        resources: Of the machine that is timed.
        run: Where measurements are kept.
        phase: Shows progress.
    """
    wanted = sorted(set(keys), key=by_size)
    networks = list(dict.fromkeys(map(arguments_of, wanted)))
    most = MOST_MEASURED if len(networks) == 1 else MOST_PER_NETWORK
    sizes = {network: [size_of(key) for key in wanted if arguments_of(key) == network] for network in networks}
    chosen = [keyed(size, network) for network in networks for size in _spread(sizes[network], most)]
    cache: Cache[StepKey, StepTime, StepTime] = json_cache(
        run,
        key=lambda key: fingerprint([run.inputs["probe"], resources.totals(), key]),
        file=lambda _, key: f"step_times/{key}.json",
        encode=asdict,
        decode=lambda stored: StepTime(**stored),
    )
    timer = _TIME.options(**resources.options())
    times = run_cached(
        chosen,
        cache,
        start=lambda key: timer.remote(task_ref, key, resources),
        label=lambda key: f"Timing steps with batch size {in_words(key)}",
        what="timing real training steps",
        phase=phase,
        in_flight=1,
    )
    measured = dict(zip(chosen, times, strict=True))
    lines = {
        network: {size_of(key): time for key, time in measured.items() if arguments_of(key) == network}
        for network in networks
    }
    return {
        key: measured[key] if key in measured else _between(size_of(key), lines[arguments_of(key)]) for key in wanted
    }


def _spread(sizes: Sequence[int], most: int) -> list[int]:
    """At most so many of increasing sizes, the ends and some evenly between."""
    return sorted({sizes[round(i)] for i in np.linspace(0, len(sizes) - 1, min(most, len(sizes)))})


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
        count=min((t.count for t in measured.values() if t.count is not None), default=None),
    )
