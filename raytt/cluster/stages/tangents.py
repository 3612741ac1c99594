"""Tangents along reference runs: the probe at their waypoints, and all rows of a tangent brought together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import ray
import torch
from numpy.typing import NDArray

from raytt.cluster.plumbing.cached_tasks import run_cached
from raytt.cluster.plumbing.process import settle
from raytt.cluster.plumbing.progress import Phase
from raytt.cluster.plumbing.run_files import Files
from raytt.cluster.plumbing.session import WorkerResources
from raytt.cluster.plumbing.workers import Item, Limits, Workers
from raytt.cluster.stages.probe import Block, Probed, blocks_of, compute, missing_blocks, shards_of
from raytt.cluster.stages.prober import Prober, SplitName
from raytt.cluster.stages.reference_runs import Reference
from raytt.dynamics.kernel.statistics import statistics_of
from raytt.dynamics.tangent import Samples
from raytt.probe.settings import ProbeSettings
from raytt.store.cache import Cache, Lookup, json_cache
from raytt.store.fingerprint import fingerprint
from raytt.store.run import Arrays, FileRecord, Run
from raytt.task.losses import Loss
from raytt.task.optimizers import Adaptive
from raytt.task.task import Task

Index = NDArray[np.int64]
Floats = NDArray[np.float64]
Shards = Mapping[SplitName, tuple[FileRecord, ...]]

_SAMPLES = ("outputs", "rows", "radial", "targets", "updates")


STILL = 1e-3
"""Relative change of the rows' mean square up to which they are taken to be the same: numerical resolution. Where
features move it is far larger, 1.8 (AdamW) and 2.3 (SGD) on diabetes (``python -m benchmarks.constants --sections
moving``, 2026-11-29)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PathTangents:
    """The tangents of one optimizer family in the run directory, in the order of the path."""

    reference: Reference
    """The run they lie on."""
    shards: tuple[Shards, ...]
    """Files of each tangent, the first at the pre-trained weights."""
    positions: tuple[Floats, ...]
    """w̃_s of each, shape (R,)."""
    made_from: str
    """Fingerprint of all that they depend on."""


def probe_path(
    task: Task,
    task_ref: Any,
    reference: Reference,
    probed: Probed,
    *,
    settings: ProbeSettings,
    samples: Mapping[SplitName, Index],
    resources: WorkerResources,
    num_workers: int,
    run: Run,
    files: Files,
    phase: Phase,
    limits: Limits | None = None,
) -> PathTangents:
    """Probe the same samples as at the pre-trained weights at each waypoint, less what the run directory has.

    For a preconditioned optimizer the pre-trained weights are probed once more, in its scaled coordinates; likewise
    where few of many outputs are probed, as others are chosen along a path.

    Args:
        task: What would be trained.
        task_ref: The same in the object store.
        reference: The run with the waypoints.
        probed: The probe at the pre-trained weights.
        settings: How rows are computed.
        samples: Positions by split.
        resources: Of one worker.
        num_workers: Workers at a time, at most.
        run: Where the rows go.
        files: Its Arrow files.
        phase: Shows progress.
        limits: When waiting and trying again end.
    """
    few = probed.facts.outputs_per_sample < probed.facts.num_outputs
    keys = {s: fingerprint([shards[0].made_from, reference.made_from]) for s, shards in probed.shards.items()}
    with_start = isinstance(reference.candidate.optimizer, Adaptive) or few
    points = _points(reference, files, with_start=with_start)
    blocks = [replace(block, point=point) for point in points for block in blocks_of(samples, settings.block_size)]
    todo = missing_blocks(blocks, keys, run, files)
    located = _look_up_positions(points, keys["train"], run)
    unplaced = located.missing
    if todo or unplaced:
        actor = ray.remote(Prober).options(**resources.options())
        spawn = partial(actor.remote, task_ref, settings, samples["train"], resources.gpus)
        with Workers(spawn, asked=resources, limits=limits, on_retry=phase.retried) as workers:
            family = reference.optimizer
            phase.expect(len(todo) + len(unplaced), f"Jacobian rows at {len(points)} tangents of {family}")

            def place(number: int, position: Floats, _: Any) -> None:
                located.keep(number, position)
                phase.advance()

            actors = min(num_workers, max(1, len(todo)))
            workers.run([_position_item(p, points[p]) for p in unplaced], num_actors=actors, on_done=place)
            if few and todo:
                todo = _with_likely(todo, workers, last=next(reversed(points.items())), num_actors=actors)
            compute(
                workers,
                todo,
                lambda block: keys[block.split],
                probed.weights,
                num_actors=num_workers,
                run=run,
                files=files,
                phase=phase,
                num_outputs=probed.facts.outputs_per_sample,
                points=points,
            )
    tangents: list[Shards] = [shards_of(run, blocks, samples, point) for point in points]
    positions = located.results()
    if not with_start:
        tangents.insert(0, probed.shards)
        positions.insert(0, np.zeros(settings.proj_dim))
    return PathTangents(
        reference=reference,
        shards=tuple(tangents),
        positions=tuple(positions),
        made_from=fingerprint(sorted(keys.items())),
    )


def _look_up_positions(points: Iterable[str], key: str, run: Run) -> Lookup[str, Floats, Floats]:
    """Which points of a path were located already: w̃ of each, shape (R,)."""
    return Lookup(
        points,
        json_cache(
            run,
            key=lambda _: key,
            file=lambda point, _: f"probe/{point}/position.json",
            encode=lambda position: position.tolist(),
            decode=np.asarray,
        ),
    )


def _points(reference: Reference, files: Files, *, with_start: bool) -> dict[str, Any]:
    """Refs of the arrays of the points to be probed by name, in the order of the path."""
    family = reference.optimizer
    points: dict[str, Any] = {}
    if with_start:
        first = files.load(reference.waypoints[0], ("scale", "common"))
        points[f"{family}-0"] = _AT_START.remote(first)
    for number, record in enumerate(reference.waypoints, start=1):
        points[f"{family}-{number}"] = files.load(record, ("weights", "scale", "common"))
    return points


def gather(tangents: PathTangents, files: Files) -> list[dict[SplitName, Any]]:
    """Refs of all rows of each tangent by split, as arrays of `raytt.dynamics.tangent.Samples`."""
    return [{split: _stacked(records, files) for split, records in shards.items()} for shards in tangents.shards]


def _stacked(records: Sequence[FileRecord], files: Files) -> Any:
    """The ref of all rows of one split at one tangent."""
    return _STACK.remote(*[files.load(record, _SAMPLES) for record in records])


def _position_item(point: str, arrays: Any) -> Item:
    return Item(label=f"Locating {point}", start=lambda actor: [actor.position.remote(point, arrays)])


def _with_likely(blocks: Sequence[Block], workers: Workers, *, last: tuple[str, Any], num_actors: int) -> list[Block]:
    """The blocks, each with the classes that its samples are likely mistaken for at the last point of the path."""
    samples = {(block.split, block.number): block for block in blocks}
    names = list(samples)
    found: dict[tuple[SplitName, int], Index] = {}

    def keep(number: int, receipt: Index, _: Any) -> None:
        found[names[number]] = receipt

    items = [_likely_item(samples[name], *last) for name in names]
    workers.run(items, num_actors=num_actors, on_done=keep)
    return [replace(block, likely=found[block.split, block.number]) for block in blocks]


def _likely_item(block: Block, point: str, arrays: Any) -> Item:
    return Item(
        label=f"Choosing outputs of {block.split} samples",
        start=lambda actor: [actor.likely.remote(block.split, block.index, point, arrays)],
    )


def _at_start(point: Arrays) -> dict[str, Any]:
    """The pre-trained weights with the preconditioner of the first waypoint, the nearest that is known."""
    return {"weights": None, **point}


def _stack(*shards: Arrays) -> Arrays:
    """The samples of all blocks, in order, under the names that `Samples` has."""
    joined = {name: np.concatenate([shard[name] for shard in shards]) for name in _SAMPLES if name in shards[0]}
    return {"jacobian" if name == "rows" else name: array for name, array in joined.items()}


_AT_START: Any = ray.remote(num_cpus=0)(_at_start)
_STACK: Any = ray.remote(num_cpus=1, max_retries=3)(_stack)


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What changes from tangent to tangent, in the tangents' own coordinates."""

    sharpness: tuple[float, ...]
    """λ_max of the loss curvature at each (`raytt.dynamics.kernel.statistics`)."""
    squares: tuple[float, ...]
    """Mean square of the rows' entries at each."""

    @property
    def features_move(self) -> bool:
        """Whether rows differ along the path; not where the outputs are linear in what is trained, as with a head on
        features that stand still.
        """
        return any(abs(square - self.squares[0]) > STILL * self.squares[0] for square in self.squares)


def changes(tangents: PathTangents, loss: Loss, files: Files, run: Run, phase: Phase) -> Changes:
    """Measured once per tangent, on Ray, one after the other: each takes all rows of a tangent into memory."""
    family, numbers = tangents.reference.optimizer, range(len(tangents.shards))
    cache: Cache[int, tuple[float, float], tuple[float, float]] = json_cache(
        run,
        key=lambda _: tangents.made_from,
        file=lambda number, _: f"probe/{family}-changes-{number}.json",
        encode=_as_list,
        decode=_as_pair,
    )
    found = run_cached(
        numbers,
        cache,
        start=lambda number: _CURVATURE.remote(loss, _stacked(tangents.shards[number]["train"], files)),
        label=lambda number: f"Curvature at tangent {number} of {family}",
        what="curvature along the path",
        phase=phase,
        in_flight=1,
    )
    return Changes(sharpness=tuple(s for s, _ in found), squares=tuple(q for _, q in found))


def _as_list(pair: tuple[float, float]) -> list[float]:
    return list(pair)


def _as_pair(stored: Any) -> tuple[float, float]:
    sharpness, square = stored
    return float(sharpness), float(square)


def _curvature(loss: Loss, arrays: Arrays) -> tuple[float, float]:
    settle(threads=1, gpus=0)
    samples = Samples(**{name: torch.tensor(arrays[name]) for name in ("outputs", "jacobian", "radial", "targets")})
    return statistics_of(samples, loss).top_curvature, float(samples.jacobian.double().square().mean())


_CURVATURE: Any = ray.remote(num_cpus=1, max_retries=3)(_curvature)
