"""How fast shards are dealt out to actors that have nothing to do: the second half of `benchmarks.scaling`.

The actors have the methods of `raytt.cluster.stages.prober.Prober` and a faked GPU each. All run on this machine beside
the driver, on a cluster they would not: shards per second here are a lower bound of what the driver can do, its own
processor time per shard an upper one.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import ray

from benchmarks.scaling.work import Index, interleaved, warm_up
from raytt.cluster.plumbing.progress import Phase
from raytt.cluster.plumbing.run_files import Files
from raytt.cluster.plumbing.session import WorkerResources, connect
from raytt.cluster.plumbing.workers import Item, Workers
from raytt.cluster.stages.probe import Block, compute
from raytt.cluster.stages.prober import Receipt
from raytt.settings.cluster import ClusterSettings
from raytt.store.run import Arrays, Run

NUM_GPUS = 64
"""That Ray is told of."""
WEIGHTS = "stub"
"""Hash of the weights that all stubs have."""

# Workers need not be able to import benchmarks.
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])


class Stub:
    """A probe worker without a network: gives rows of zeros at once."""

    def __init__(self, kib: int) -> None:
        self._arrays: Arrays = {"rows": np.zeros((1, 1, 256 * kib), dtype=np.float32)}

    def place(self) -> str:
        """The node."""
        return str(ray.get_runtime_context().get_node_id())

    def load(self) -> None:
        """Nothing."""

    def probe(self, split: str, index: Index, point: str = "", arrays: Any = None) -> tuple[Receipt, Arrays]:
        """A receipt and the arrays of a shard."""
        return Receipt(weights=WEIGHTS), self._arrays


def measure(counts: Sequence[int], *, shards: int, long: int, kib: int, repeats: int) -> dict[str, Any]:
    """Shards per second by number of actors and route, and the driver's memory before and after many shards.

    Args:
        counts: Numbers of actors, rising.
        shards: Dealt out in each measurement.
        long: Dealt out in the last one.
        kib: KiB of rows that a shard has.
        repeats: Of each measurement.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    with ExitStack() as stack:
        ray.init(
            address="local",
            num_cpus=max(counts) + 2,
            num_gpus=NUM_GPUS,
            include_dashboard=False,
            object_store_memory=1 << 30,
            logging_level=logging.ERROR,
            log_to_driver=False,
        )
        stack.callback(ray.shutdown)
        session = stack.enter_context(connect())
        run = Run.open(stack.enter_context(tempfile.TemporaryDirectory()), "stub", task_name="stub")
        files = Files(session, run.storage)
        resources = WorkerResources.of(ClusterSettings(use_gpu=True))
        spawn = partial(ray.remote(Stub).options(**resources.options()).remote, kib)
        workers = stack.enter_context(Workers(spawn, asked=resources))
        rates: list[dict[str, float]] = []
        for count in counts:
            begin = time.perf_counter()
            actors = warm_up(workers, count, _start)
            started = time.perf_counter() - begin
            routes: dict[str, Callable[[int], None]] = {
                "bare": partial(bare, actors),
                "dealt": partial(deal, workers, count),
                "written": partial(write, workers, count, run, files),
            }
            for route in routes.values():
                route(max(count, shards // 10))
            processor: dict[str, list[float]] = {name: [] for name in routes}
            timed = {name: partial(_run, route, shards, processor[name]) for name, route in routes.items()}
            seconds = interleaved(timed, repeats)
            rates.append({"actors": count, "start_seconds": started})
            rates[-1] |= {name: shards / float(np.median(times)) for name, times in seconds.items()}
            rates[-1] |= {f"{name}_driver_ms": 1e3 * float(np.median(t)) / shards for name, t in processor.items()}
            print(rates[-1], flush=True)
        most = max(counts)
        fresh = Run.open(stack.enter_context(tempfile.TemporaryDirectory()), "long", task_name="stub")
        kept = Files(session, fresh.storage)
        memory = [_memory(0)]
        begin = time.perf_counter()
        for first, count in ((0, shards), (shards, long - shards)):
            write(workers, most, fresh, kept, count, first=first)
            memory.append(_memory(first + count))
        written_long = long / (time.perf_counter() - begin)
        for total in (shards, long):
            deal(workers, most, total)
            memory.append(_memory(total))
        print(memory, flush=True)
    return {"rates": rates, "written_long": written_long, "memory": memory, "kib": kib}


def bare(actors: Sequence[Any], shards: int) -> None:
    """The same calls with nothing but Ray: one at a time on each actor, no retry, no time limit."""
    left = shards - len(actors)
    pending = {_start(actor): actor for actor in actors}
    while pending:
        done, _ = ray.wait(list(pending), num_returns=1, fetch_local=False)
        actor = pending.pop(done[0])
        ray.get(done[0])
        if left > 0:
            left -= 1
            pending[_start(actor)] = actor


def deal(workers: Workers, count: int, shards: int) -> None:
    """`Workers.run`: items to actors, receipts to the driver; rows are dropped."""
    workers.run(
        [Item(label=f"shard {number}", start=_call) for number in range(shards)],
        num_actors=count,
        on_done=lambda *_: None,
    )


def write(workers: Workers, count: int, run: Run, files: Files, shards: int, *, first: int = 0) -> None:
    """`raytt.cluster.stages.probe.compute`: the same, and rows to files that the manifest lists."""
    compute(
        workers,
        [Block(split="train", number=first + number, index=np.array([number])) for number in range(shards)],
        lambda _: "stub",
        WEIGHTS,
        num_actors=count,
        run=run,
        files=files,
        phase=Phase("probe", "", None),
        num_outputs=1,
    )


def _run(route: Callable[[int], None], shards: int, processor: list[float]) -> None:
    """Take a route, and keep the driver's processor time in seconds: of all its threads, but of no other process."""
    begin = time.process_time()
    route(shards)
    processor.append(time.process_time() - begin)


def _call(actor: Any) -> Sequence[Any]:
    refs: Sequence[Any] = actor.probe.options(num_returns=2).remote("train", np.array([0]))
    return refs


def _start(actor: Any) -> Any:
    return _call(actor)[0]


def _memory(shards: int) -> dict[str, float]:
    """Resident and proportional memory of the driver after so many shards, MiB (Linux)."""
    gc.collect()
    lines = [line.split() for line in Path("/proc/self/smaps_rollup").read_text().splitlines()]
    found = {line[0]: float(line[1]) / 1024 for line in lines if line[0] in ("Rss:", "Pss:")}
    return {"shards": shards, "rss": found["Rss:"], "pss": found["Pss:"]}
