"""Descent rates on Ray: a task per saved state and batch size takes minibatch gradients and gives their products.

How work is cut depends on the reference run and the candidates alone, and every minibatch is a function of (seed,
point, batch size, number), so that any number of workers gives the same bits. Nothing but a few numbers of the
gradients leaves a task.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import ray

from raytt.cluster.plumbing.cached_tasks import run_cached
from raytt.cluster.plumbing.process import settle
from raytt.cluster.plumbing.progress import Phase
from raytt.cluster.plumbing.run_files import Files
from raytt.cluster.plumbing.session import WorkerResources
from raytt.cluster.stages.training_references import SavedReference, state_bytes, state_ref
from raytt.rates.descent_rates import descent_rate
from raytt.rates.gradients import MinibatchGradients
from raytt.rates.rate_table import Batch, samples_of
from raytt.rates.signal import Signal
from raytt.store.cache import Cache, json_cache
from raytt.store.fingerprint import fingerprint
from raytt.store.run import Arrays, Run
from raytt.task.candidate import Candidate
from raytt.task.task import Task
from raytt.training.state import Entry, unpack

BLOCKS = 8
"""Blocks of minibatches per rate, whose sums are kept apart: as many as the jackknife needs to tell its error."""


@dataclass(frozen=True, kw_only=True)
class RateRequest:
    """The rates at one saved state for one batch size."""

    reference: SavedReference
    """Of which family."""
    point: int
    """Number of the saved state."""
    batch: Batch
    """What one gradient is the mean of."""
    scales: tuple[Candidate, ...]
    """One candidate for each way of scaling gradients: all optimizers of the family that differ in it."""


def _measure(
    task: Task,
    arrays: Arrays,
    entries: Sequence[Entry],
    scales: Sequence[Candidate],
    point: int,
    batch: Batch,
    minibatches: int,
    seed: int,
    resources: WorkerResources,
) -> list[dict[str, Any]]:
    settle(threads=resources.cpus, gpus=resources.gpus)
    source = MinibatchGradients(task.built_for(scales[0]), seed=seed, device=resources.device)
    source.load(unpack(state_bytes(arrays), entries))
    size = math.ceil(minibatches / BLOCKS)
    blocks = [
        source.block(point, batch, range(low, min(low + size, minibatches))) for low in range(0, minibatches, size)
    ]
    weights = source.lr_scales(), source.decayed_weights(), source.weight_tensors()
    return [asdict(descent_rate(candidate, blocks, *weights)) for candidate in scales]


_MEASURE: Any = ray.remote(max_retries=3)(_measure)


def measure_rates(
    task_ref: Any,
    requests: Sequence[RateRequest],
    *,
    minibatches: int,
    seed: int,
    resources: WorkerResources,
    num_workers: int,
    run: Run,
    files: Files,
    phase: Phase,
) -> list[list[Signal]]:
    """The rates of each request, one per scale; measured or from the run directory.

    Args:
        task_ref: The task in the object store.
        requests: What to measure.
        minibatches: K ≥ 2 per rate.
        seed: Of all draws.
        resources: Of one task.
        num_workers: Tasks at a time.
        run: Where rates are kept.
        files: Its Arrow files.
        phase: Shows progress.
    """

    def key(request: RateRequest) -> str:
        asked = [request.point, request.batch, [c.sort_key() for c in request.scales], minibatches, seed]
        return fingerprint([request.reference.made_from, "norms, pull", *asked])

    cache: Cache[RateRequest, list[dict[str, Any]], list[Signal]] = json_cache(
        run,
        key=key,
        file=lambda _, key: f"rates/{key}.json",
        encode=list[dict[str, Any]],
        decode=lambda stored: [Signal(**{**signal, "norms": tuple(signal["norms"])}) for signal in stored],
    )
    worker = _MEASURE.options(**resources.options())
    return run_cached(
        requests,
        cache,
        start=lambda request: worker.remote(
            task_ref,
            state_ref(request.reference, request.point, files),
            request.reference.entries,
            request.scales,
            request.point,
            request.batch,
            minibatches,
            seed,
            resources,
        ),
        label=lambda request: f"Descent rates with batch size {request.batch}",
        what=f"descent rates of {minibatches} minibatches",
        phase=phase,
        in_flight=num_workers,
        # The longest first, so that no worker starts one when the others have nothing left.
        order=lambda request: -samples_of(request.batch),
    )
