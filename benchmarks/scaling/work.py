"""Real work on one worker and on two, through Ray and without it: the first half of `benchmarks.scaling`.

The network is EfficientNet-Lite0 of the digits example. Everything is warm before a clock starts: processes started,
networks built, one block probed, one simulation done.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from numpy.typing import NDArray

from raytt.adapters.tune.search_space import draw
from raytt.cluster.plumbing import shipping
from raytt.cluster.plumbing.process import settle
from raytt.cluster.plumbing.progress import Phase
from raytt.cluster.plumbing.run_files import Files
from raytt.cluster.plumbing.session import WorkerResources, connect
from raytt.cluster.plumbing.workers import Item, Workers
from raytt.cluster.stages.probe import Block, Probed, blocks_of, compute, probe
from raytt.cluster.stages.prober import Prober
from raytt.cluster.stages.reduce import Reduced, reduce
from raytt.cluster.stages.solve import Piece, Simulation, Solvers, cut
from raytt.dynamics.network import linear_network
from raytt.dynamics.simulate import simulate
from raytt.dynamics.tangent import Samples, Tangent
from raytt.examples import digits
from raytt.probe.settings import ProbeSettings
from raytt.probe.worker import ProbeWorker
from raytt.store.run import FileRecord, Run, Storage
from raytt.task.losses import as_loss

COUNTS = (1, 2)
"""Workers."""
CLERK_MIB = 32
CLERK_FILES = 8
"""Size and number of the files with which the actor is timed that reads and writes the run directory."""
SIMULATION = Simulation(loss=as_loss(digits.task.loss), target=digits.target, method="sgd", num_paths=8, seed=0)

Index = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much work."""

    samples: int
    """N, samples probed."""
    candidates: int
    """M, simulated on `SIMULATION`'s paths."""
    proj_dim: int
    """R."""
    repeats: int
    """Of each measurement."""

    @property
    def settings(self) -> ProbeSettings:
        """Of the probe."""
        return ProbeSettings(proj_dim=self.proj_dim)


def interleaved(routes: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Wall-clock seconds of each route, all in turn, so that a machine that gets slower does so for all."""
    seconds: dict[str, list[float]] = {name: [] for name in routes}
    for _ in range(repeats):
        for name, run in routes.items():
            begin = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - begin)
    return seconds


def ratio(seconds: Mapping[str, Sequence[float]], longer: str, shorter: str) -> float:
    """Median over the repeats of the time of one route over that of another."""
    return float(np.median([a / b for a, b in zip(seconds[longer], seconds[shorter], strict=True)]))


class Stopwatch(Phase):
    """A phase that keeps when each of its parts began, in seconds since its own beginning."""

    def __init__(self, name: str) -> None:
        super().__init__(name, "", None)
        self._begin = time.perf_counter()
        self.began: list[float] = []

    def expect(self, total: int, what: str | None = None) -> None:
        super().expect(total, what)
        self.began.append(time.perf_counter() - self._begin)


_here: dict[str, Any] = {}
"""What a process without Ray holds."""


def _open(barrier: Any, settings: ProbeSettings, index: Index, root: str, record: FileRecord) -> None:
    settle(threads=1, gpus=0)
    arrays = Storage(root=root).read_arrays(record)
    names = ("outputs", "jacobian", "radial", "targets")
    samples = Samples(**{name: torch.from_numpy(np.array(arrays[name])) for name in names})
    tangent = Tangent(train=samples, position=torch.zeros(samples.jacobian.shape[2]))
    _here.update(barrier=barrier, worker=ProbeWorker(digits.task, settings, index), tangent=tangent)
    _here["network"] = linear_network(tangent)


def _warm(index: Index, piece: Piece) -> None:
    # Each process takes one of as many calls as there are processes.
    _here["barrier"].wait()
    _probe(index)
    _simulate(piece)


def _probe(index: Index) -> None:
    _here["worker"].probe(index)


def _simulate(piece: Piece) -> None:
    simulate(
        _here["tangent"],
        SIMULATION.loss,
        piece.candidates,
        piece.budgets,
        num_paths=1,
        seed=piece.seed,
        target=SIMULATION.target,
        network=_here["network"],
    )


class Plain:
    """Processes without Ray, each with `raytt.probe.worker` and `raytt.dynamics.simulate` in one thread.

    What they compute stays with them: nothing is sent back or written.
    """

    def __init__(self, stack: ExitStack, count: int, size: Size, index: Index, run: Run, train: FileRecord) -> None:
        context = multiprocessing.get_context("spawn")
        arguments = (context.Barrier(count), size.settings, index, run.storage.root, train)
        self._count = count
        self._pool = stack.enter_context(ProcessPoolExecutor(count, context, _open, arguments))

    def warm(self, block: Block, piece: Piece) -> None:
        """Start all processes and let each do a little of both kinds of work."""
        list(self._pool.map(_warm, [block.index] * self._count, [piece] * self._count))

    def probe(self, blocks: Sequence[Block]) -> None:
        """Probe all blocks."""
        list(self._pool.map(_probe, [block.index for block in blocks]))

    def solve(self, pieces: Sequence[Piece]) -> None:
        """Simulate all pieces, the longest first."""
        list(self._pool.map(_simulate, sorted(pieces, key=lambda piece: -piece.cost)))


class Probers:
    """Actors of `raytt.cluster.stages.probe`, and what it does with blocks once they are loaded."""

    def __init__(self, stack: ExitStack, count: int, size: Size, index: Index, task_ref: Any) -> None:
        actor = ray.remote(Prober).options(**WorkerResources().options())
        self._count = count
        self._workers = stack.enter_context(Workers(partial(actor.remote, task_ref, size.settings, index, 0.0)))

    def warm(self, block: Block) -> None:
        """Wait until each actor has probed a block."""
        warm_up(self._workers, self._count, lambda actor: actor.probe.remote("train", block.index))

    def probe(self, blocks: Sequence[Block], probed: Probed, run: Run, files: Files) -> None:
        """Probe all blocks, write and list them."""
        compute(
            self._workers,
            blocks,
            lambda _: "scaling",
            probed.weights,
            num_outputs=probed.facts.num_outputs,
            num_actors=self._count,
            run=run,
            files=files,
            phase=Stopwatch("probe"),
        )


def warm_up(workers: Workers, count: int, start: Callable[[Any], Any]) -> list[Any]:
    """Have each of so many actors do something; gives the actors."""
    actors: dict[Any, None] = {}

    def begin(actor: Any) -> list[Any]:
        actors[actor] = None
        return [start(actor)]

    # Who has loaded takes the items of those that have not.
    while len(actors) < count:
        workers.run([Item(label="Warming up", start=begin)] * count, num_actors=count, on_done=lambda *_: None)
    return list(actors)


def measure(size: Size) -> dict[str, Any]:
    """Seconds of probing and of solving by route and repeat, of starting, and bytes per second of the clerk."""
    index = np.arange(size.samples)
    settings = size.settings
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        begin = time.perf_counter()
        session = stack.enter_context(connect("local", num_cpus=sum(COUNTS)))
        start_seconds = {"Ray": time.perf_counter() - begin}
        stack.enter_context(shipping.by_value(digits.task))
        task_ref, run = shipping.put(digits.task), Run.open(folder, "scaling", task_name=digits.task.name)
        files = Files(session, run.storage)
        phase = Stopwatch("probe")
        probed = probe(
            digits.task,
            task_ref,
            settings=settings,
            samples={"train": index},
            num_samples_full=digits.NUM_TRAIN,
            resources=WorkerResources(),
            num_workers=max(COUNTS),
            run=run,
            files=files,
            phase=phase,
        )
        start_seconds["probe workers"] = phase.began[-1]
        begin = time.perf_counter()
        reduced = reduce(
            probed,
            SIMULATION.loss,
            settings=settings,
            num_samples=size.samples,
            num_workers=max(COUNTS),
            run=run,
            files=files,
            phase=Stopwatch("reduce"),
        )
        start_seconds["reduction"] = time.perf_counter() - begin
        print(f"started: {start_seconds}", flush=True)

        blocks = blocks_of({"train": index}, settings.block_size)
        candidates = draw(digits.search_space, num_candidates=size.candidates, seed=0).candidates
        budgets = {c: c.budget(num_samples=size.samples, default_epochs=20.0) for c in candidates}
        pieces = [piece for group in cut(budgets, SIMULATION) for piece in group]
        solve = partial(_solve_on_ray, folder, reduced, files, budgets)
        plain = {count: Plain(stack, count, size, index, run, reduced.train) for count in COUNTS}
        with ExitStack() as actors:
            probers = {count: Probers(actors, count, size, index, task_ref) for count in COUNTS}
            for count in COUNTS:
                plain[count].warm(blocks[0], pieces[-1])
                probers[count].warm(blocks[0])
            routes: dict[str, Callable[[], object]] = {}
            for count in COUNTS:
                routes[f"plain {count}"] = partial(plain[count].probe, blocks)
                routes[f"ray {count}"] = partial(probers[count].probe, blocks, probed, run, files)
            probing = interleaved(routes, size.repeats)
        print(f"probe: {probing}", flush=True)

        # As many tasks at a time as Ray has CPUs: whichever process takes a task later has imported what it needs.
        solve(sum(COUNTS), replace(SIMULATION, seed=1))
        routes = {}
        for count in COUNTS:
            routes[f"plain {count}"] = partial(plain[count].solve, pieces)
            routes[f"ray {count}"] = partial(solve, count, SIMULATION)
        solving = interleaved(routes, size.repeats)
        print(f"solve: {solving}", flush=True)
        return {
            "start_seconds": start_seconds,
            "probe": probing,
            "solve": solving,
            "rows": size.samples * probed.facts.num_outputs,
            "blocks": len(blocks),
            "pieces": len(pieces),
            "clerk": _clerk(files),
        }


def _solve_on_ray(
    folder: str, reduced: Reduced, files: Files, budgets: Mapping[Any, int], workers: int, simulation: Simulation
) -> None:
    # In a run directory of its own: from one that it knows, it would read the curves.
    run = Run.open(Path(folder), uuid.uuid4().hex, task_name=digits.task.name)
    solvers = Solvers(reduced, {}, num_workers=workers, run=run, files=files)
    solvers.solve(budgets, simulation, Stopwatch("solve"))


def _clerk(files: Files) -> dict[str, float]:
    """Bytes per second that the actor beside the driver writes to the run directory and reads from it."""
    rows = ray.put({"rows": np.random.default_rng(0).standard_normal((CLERK_MIB, 256, 1024), dtype=np.float32)})
    total = CLERK_MIB * CLERK_FILES * 2**20
    begin = time.perf_counter()
    records = ray.get([files.save(f"clerk/{number}.arrow", rows, made_from="") for number in range(CLERK_FILES)])
    saved = time.perf_counter()
    loaded = [files.load(record, ["rows"]) for record in records]
    ray.wait(loaded, num_returns=len(loaded), fetch_local=False)
    return {"save": total / (saved - begin), "load": total / (time.perf_counter() - saved)}
