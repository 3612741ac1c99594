"""What measured figures come to on a large cluster, on paper: the last part of `benchmarks.scaling`.

Notation: N samples probed, of N_full; C outputs, sketch dimension R, S + 1 tangents; rows Z of N·C × R float32 numbers.
Every number follows from a figure in `Rates`, measured in the same run, or from an assumption in `Cluster` or `Work`.
What is sent is read off `raytt.distributed`: rows go from an actor to the one actor beside the driver that writes files
(*clerk*) and come back from there, as R × R sums go from task to task, and coordinates of all rows to one task.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from benchmarks.simulate import BATCH_SIZE, NUM_OUTPUTS, Setup, candidates_of, solve, tangents_of
from raytt.adapters.tune.search_space import draw
from raytt.cluster.stages import reducer
from raytt.cluster.stages.reduce import GROUP_ROWS
from raytt.cluster.stages.solve import Piece, Simulation, cut
from raytt.dynamics.kernel.gram import second_moment
from raytt.dynamics.kernel.reduction import basis_from_second_moment
from raytt.dynamics.network import linear_network
from raytt.dynamics.recording import measured_records, record_steps
from raytt.examples import digits
from raytt.pricing.hardware import accelerators
from raytt.probe.settings import ProbeSettings
from raytt.task.losses import as_loss
from raytt.workflows.plan import NUM_WAYPOINTS

FLOAT, DOUBLE = 4, 8
"""Bytes."""
WIDTH = 1024
"""R at which the kernels are timed here; times on paper are scaled by their operation counts."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Assumed: eight machines of eight H100."""

    nodes: int = 8
    gpus_per_node: int = 8
    cpus_per_node: int = 96
    memory: float = 1024 * 2**30
    """Of a node, bytes."""
    store_share: float = 0.3
    """Of the memory for objects, Ray's default."""
    network: float = 100e9 / 8
    """Into or out of a node, bytes per second."""
    accelerator: str = "H100"
    """In `raytt.pricing.hardware`, for its peak of float32 arithmetic."""
    gpu_share: float = 0.25
    """A GPU reaches this times the share of its float32 peak that a CPU thread reaches of its own, probing."""

    @property
    def gpus(self) -> int:
        """All."""
        return self.nodes * self.gpus_per_node

    @property
    def cpus(self) -> int:
        """All, and as many tasks at a time."""
        return self.nodes * self.cpus_per_node


@dataclass(frozen=True, kw_only=True)
class Work:
    """Assumed: what is asked for; the rest as `raytt rank` has it by default."""

    samples: int = 50_000
    """N."""
    samples_full: int = 50_000
    """N_full."""
    outputs: int = 1000
    """C."""
    proj_dim: int = 4096
    """R."""
    candidates: int = 200
    """Of the digits example's search space."""
    paths: int = 4
    """Simulated runs of each, P."""
    epochs: float = 20.0
    """Budget of each, passes over N_full samples."""
    tangents: int = NUM_WAYPOINTS + 1
    """S + 1."""
    block: int = ProbeSettings().block_size
    """Samples of a block."""

    @property
    def num_rows(self) -> int:
        """NC."""
        return self.samples * self.outputs

    @property
    def row_bytes(self) -> int:
        """Of all rows of one tangent."""
        return self.num_rows * self.proj_dim * FLOAT

    @property
    def blocks(self) -> int:
        """Of one tangent."""
        return -(-self.samples // self.block)

    @property
    def blocks_per_sum(self) -> int:
        """That are summed to one R × R matrix by one task."""
        return -(-GROUP_ROWS // (self.block * self.outputs))

    @property
    def sums(self) -> int:
        """R × R matrices that are then added up."""
        return -(-self.blocks // self.blocks_per_sum)


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Measured on this machine, in this run."""

    rows: float
    """Jacobian rows per second, one thread, EfficientNet-Lite0 at 32 pixels."""
    shards: float
    """Shards per second that the driver deals out, has written and lists, at the most actors."""
    save: float
    """Bytes per second that the clerk writes."""
    load: float
    """Bytes per second that the clerk reads."""
    single: float
    """Operations per second of a float32 matrix product, one thread."""
    moment: float
    """Operations per second of Zᵀ Z in float64, one thread."""
    rotate: float
    """Operations per second of Z V in float64, one thread."""
    add: float
    """Bytes per second of adding one R × R matrix to another."""
    axes: float
    """Seconds for the eigenvectors of a `WIDTH` × `WIDTH` matrix."""
    finish: float
    """Coordinates per second that the last task of the reduction goes through."""
    simulate: float
    """Operations per second of a simulation, counted as matrix products alone, one thread."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """A step of a phase, on paper."""

    phase: str
    name: str
    seconds: Mapping[str, float]
    """By what may bound it; these overlap, so that the longest counts."""
    sent: float = 0.0
    """Bytes from one node to another."""

    @property
    def bound(self) -> str:
        """What takes longest."""
        return max(self.seconds, key=self.seconds.__getitem__)

    @property
    def longest(self) -> float:
        """Seconds."""
        return self.seconds[self.bound]


@dataclass(frozen=True, kw_only=True)
class Need:
    """Memory of one node, bytes."""

    what: str
    bytes: float
    have: float


def _timed(run: Callable[[], object], repeats: int = 3) -> float:
    """Seconds, the median of a few runs after a first."""
    run()
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begin)
    return float(np.median(seconds))


def kernels() -> dict[str, float]:
    """The fields of `Rates` from ``single`` on, each timed in one thread here."""
    torch.set_num_threads(1)
    generator = np.random.default_rng(0)
    rows = generator.standard_normal((GROUP_ROWS, 1, WIDTH), dtype=np.float32)
    square = torch.from_numpy(rows[:WIDTH, 0].copy())
    moment = second_moment(rows)
    samples = GROUP_ROWS // NUM_OUTPUTS
    head = {
        "outputs": generator.standard_normal((samples, NUM_OUTPUTS)),
        "radial": np.zeros((samples, NUM_OUTPUTS)),
        "targets": np.arange(samples) % NUM_OUTPUTS,
        "index": np.arange(samples),
    }
    axes = basis_from_second_moment(moment)
    coordinates = rows[: samples * NUM_OUTPUTS, 0].astype(np.float64) @ axes
    # Larger than caches, as it is there.
    large = np.ones((4 * WIDTH, 4 * WIDTH))
    setup = Setup(samples=samples * 4, width=WIDTH, candidates=64, paths=1, steps=30)
    tangent, candidates = tangents_of(setup)[0], candidates_of(setup)
    network = linear_network(tangent)
    steps = 4 * setup.steps * BATCH_SIZE + 2 * 2 * setup.samples  # with a record at either end
    operations = setup.candidates * steps * NUM_OUTPUTS * WIDTH
    loss = as_loss(digits.task.loss)
    return {
        "single": 2 * WIDTH**3 / _timed(lambda: square @ square),
        "moment": 2 * GROUP_ROWS * WIDTH**2 / _timed(lambda: second_moment(rows)),
        "rotate": 2 * GROUP_ROWS * WIDTH**2 / _timed(lambda: reducer.rotate({"rows": rows}, axes)),
        "add": large.nbytes / _timed(lambda: reducer.add(large, large)),
        "axes": _timed(lambda: basis_from_second_moment(moment)),
        "finish": coordinates.size / _timed(lambda: reducer.finish(loss, (1, 0), False, head, coordinates)),
        "simulate": operations / _timed(lambda: solve(setup, tangent, network, candidates, "sgd")),
    }


def steps(work: Work, cluster: Cluster, rates: Rates) -> list[Step]:
    """The phases in order."""
    away = 1.0 - 1.0 / cluster.nodes
    gpu = cluster.gpu_share * accelerators()[cluster.accelerator].fp32 / rates.single
    rows = work.row_bytes
    every = rows * work.tangents
    square = work.proj_dim**2
    products = 2.0 * work.num_rows * square / cluster.cpus
    coordinates = 2.0 * rows  # in float64
    in_and_out = {"clerk's reading": rows / rates.load, "network of the driver's node": rows * away / cluster.network}
    tasks = _simulations(work, rates)
    copies = (min(len(tasks), cluster.nodes) - 1) * every
    return [
        Step(
            phase="probe",
            name=f"rows at {work.tangents} tangents",
            seconds={
                "GPUs": work.num_rows * work.tangents / (cluster.gpus * rates.rows * gpu),
                "driver": work.blocks * work.tangents / rates.shards,
                "clerk's writing": every / rates.save,
                "network of the driver's node": every * away / cluster.network,
            },
            sent=every * away,
        ),
        Step(
            phase="reduce", name="R × R sums", seconds={"CPUs": products / rates.moment, **in_and_out}, sent=rows * away
        ),
        Step(
            phase="reduce",
            name=f"adding {work.sums:,} of them up",
            seconds={"one after the other": work.sums * square * DOUBLE * (away / cluster.network + 1.0 / rates.add)},
            sent=work.sums * square * DOUBLE * away,
        ),
        Step(phase="reduce", name="axes", seconds={"one thread": rates.axes * (work.proj_dim / WIDTH) ** 3}),
        Step(
            phase="reduce",
            name="coordinates",
            seconds={"CPUs": products / rates.rotate, **in_and_out},
            sent=rows * away + cluster.nodes * away * square * DOUBLE,
        ),
        Step(
            phase="reduce",
            name="bringing them together",
            seconds={
                "one thread": work.num_rows * work.proj_dim / rates.finish,
                "network of one node": coordinates * away / cluster.network,
                "clerk's writing": rows / rates.save,
            },
            sent=coordinates * away + rows * away,
        ),
        Step(
            phase="solve",
            name="rows to all nodes",
            seconds={"clerk's reading": every / rates.load, "network of one node": copies / cluster.network},
            sent=every * away + copies,
        ),
        Step(
            phase="solve",
            name=f"simulations, {len(tasks)} tasks",
            seconds={"the longest task": max(tasks), "all CPUs": sum(tasks) / cluster.cpus},
        ),
    ]


def _simulations(work: Work, rates: Rates) -> list[float]:
    """Seconds of each task, at most: no candidate reaches the target early.

    Per sample gradient and tangent 4·C·R operations, two tangents at a time on a path; a measured record 2·N·C·R.
    """
    loss = as_loss(digits.task.loss)
    simulation = Simulation(loss=loss, target=digits.target, method="sgd", num_paths=work.paths, seed=0)
    space = {**digits.search_space, "max_epochs": work.epochs}
    candidates = draw(space, num_candidates=work.candidates, seed=0).candidates
    budgets = {c: c.budget(num_samples=work.samples_full, default_epochs=work.epochs) for c in candidates}

    def seconds(piece: Piece) -> float:
        records = sum(int(measured_records(record_steps([b]), [b]).sum()) for b in piece.budgets)
        samples = 4.0 * piece.cost + 2.0 * records * work.samples
        return samples * min(2, work.tangents) * work.outputs * work.proj_dim / rates.simulate

    return [seconds(piece) for pieces in cut(budgets, simulation) for piece in pieces]


def needs(work: Work, cluster: Cluster) -> list[Need]:
    """Memory where most of it is held."""
    store = cluster.store_share * cluster.memory
    rows, square = float(work.row_bytes), work.proj_dim**2 * DOUBLE
    block = min(rows, work.block * work.outputs * work.proj_dim * FLOAT)
    under_way = min(2 * cluster.cpus, work.sums)
    return [
        Need(
            what=f"probe: three copies of a block in each of {cluster.gpus_per_node} workers",
            bytes=3.0 * block * cluster.gpus_per_node,
            have=cluster.memory - store,
        ),
        Need(
            what="reduce: blocks under way, store of the driver's node",
            bytes=min(rows, under_way * work.blocks_per_sum * block),
            have=store,
        ),
        Need(
            what="reduce: R × R sums under way, every node's store",
            bytes=under_way * square / cluster.nodes,
            have=store,
        ),
        Need(what="reduce: all coordinates, store of the last task's node", bytes=3.0 * rows, have=store),
        Need(what="reduce: the last task itself, which joins them", bytes=4.0 * rows, have=cluster.memory - store),
        Need(
            what=f"solve: rows of {work.tangents} tangents, every node's store", bytes=work.tangents * rows, have=store
        ),
    ]


def largest(work: Work, cluster: Cluster, number: int) -> int | None:
    """N up to which memory suffices for one of `needs`; None: for any N."""

    def fits(samples: int) -> bool:
        need = needs(replace(work, samples=samples), cluster)[number]
        return need.bytes <= need.have

    low, high = 0, 10**9
    if fits(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
