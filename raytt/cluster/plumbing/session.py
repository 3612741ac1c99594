"""Connecting to Ray, and whether it has what is asked for."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raytt.cluster.plumbing.temp_dir import temp_options
from raytt.errors import InputError, ResourceError
from raytt.settings.cluster import ClusterSettings

PLACEMENT_SECONDS = 60.0
"""How long a worker may wait for free resources that the cluster has in total."""
START_SECONDS = 900.0
"""How long a process may take to start once there is room for it: minutes, where the machine is busy or Python comes
from a slow disk."""

MARKET_LABEL = "ray.io/market-type"
"""Ray's own label of nodes: "spot" or "on-demand"."""

_REACH_SECONDS = 10.0
_CLIENT_ATTEMPTS = 3
_CLIENT_PAUSE_SECONDS = 2.0
# The local object store holds the sketched rows a few times over; Ray's default of 30 % of the memory is more than that
# on large machines, and what does not fit is spilled to disk.
_OBJECT_STORE_BYTES = 4 << 30


@dataclass(frozen=True, kw_only=True)
class WorkerResources:
    """What one worker is given."""

    cpus: int = 1
    """CPUs, and as many threads."""
    gpus: float = 0.0
    """GPUs."""
    custom: Mapping[str, float] = field(default_factory=dict)
    """Ray's custom resources by name."""

    @classmethod
    def of(cls, settings: ClusterSettings) -> WorkerResources:
        """Those that the settings ask for."""
        return cls(cpus=int(settings.cpus), gpus=float(settings.gpus), custom=settings.custom_resources)

    @property
    def device(self) -> str:
        """The torch device of a worker, one process with one network on it.

        Ray starts a process per worker and shows it only the GPUs it was given, so "cuda" is one of its own: one
        process per GPU with the default of one. With a fraction several share a GPU; of more than one the first is
        used.
        """
        return "cuda" if self.gpus > 0 else "cpu"

    def options(self) -> dict[str, Any]:
        """Keywords for ``.options`` of a task or an actor."""
        return {"num_cpus": self.cpus, "num_gpus": self.gpus, "resources": dict(self.custom)}

    def __str__(self) -> str:
        return _amounts(self.totals())

    def totals(self) -> dict[str, float]:
        """In Ray's notation, amounts above 0 only."""
        amounts = {"CPU": float(self.cpus), "GPU": self.gpus, **self.custom}
        return {name: amount for name, amount in amounts.items() if amount > 0}


@dataclass(frozen=True, kw_only=True)
class Session:
    """A connection to Ray."""

    started_here: bool
    """Whether raytt started this Ray, on this machine, for this run."""
    is_client: bool
    """Whether the driver is outside the cluster (ray://…) and has no node of its own."""

    def workers_that_fit(self, worker: WorkerResources) -> int:
        """How many such workers the cluster's nodes hold when they are otherwise idle."""
        needs = worker.totals()
        return sum(
            min(int(node["Resources"].get(name, 0.0) / amount + 1e-9) for name, amount in needs.items())
            for node in ray.nodes()
            if node["Alive"]
        )

    def check(self, worker: WorkerResources, num_workers: int) -> None:
        """Raise `ResourceError` unless the cluster can hold that many workers at once."""
        fits = self.workers_that_fit(worker)
        if fits < num_workers:
            raise ResourceError(
                f"Asked for {num_workers} worker{'s' if num_workers > 1 else ''} with {worker} each, but the cluster "
                f"holds {fits}: {_nodes()}. Ask for fewer or smaller workers (num_workers, min_workers, "
                "resources_per_worker, use_gpu), add nodes, or give an autoscaler time to (wait_seconds)."
            )

    def whole_machine(self) -> WorkerResources:
        """One worker with all CPUs of a Ray that was started here, as training would have; else a worker's default."""
        if not self.started_here:
            return WorkerResources()
        return WorkerResources(cpus=int(ray.cluster_resources()["CPU"]))

    def off_spot(self) -> dict[str, Any]:
        """Keywords for ``.options`` of a task whose loss would cost most: not on nodes that say that they are spot.

        Nothing where every node with a CPU says so: then the work is done there all the same.
        """
        lending = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0.0) >= 1.0]
        spots = [node for node in lending if node.get("Labels", {}).get(MARKET_LABEL) == "spot"]
        return {"label_selector": {MARKET_LABEL: "!spot"}} if 0 < len(spots) < len(lending) else {}

    def near_driver(self) -> dict[str, Any]:
        """Keywords for ``.options`` of an actor that must see what the driver sees: its disk, where that counts."""
        if self.is_client:
            return {}
        node = ray.get_runtime_context().get_node_id()
        return {"scheduling_strategy": NodeAffinitySchedulingStrategy(node_id=node, soft=False)}


@contextmanager
def connect(
    address: str | None = None, *, num_cpus: int | None = None, shared_storage: bool = False
) -> Iterator[Session]:
    """Use the Ray that is there, or start one on this machine; stop it again only if it was started here.

    Supported: a Ray initialized in this process; ``address`` (or the environment's ``RAY_ADDRESS``) as ``auto``,
    ``host:port`` of a cluster that this machine belongs to, or ``ray://host:port`` from outside it; else a local one.

    Args:
        address: Where the cluster is.
        num_cpus: CPUs of a Ray started here; None: all of this machine.
        shared_storage: Whether the run directory is given by a URI that all machines see.

    Raises:
        ResourceError: If there is no cluster at the address, or Ray cannot be started here.
        InputError: If the address is that of a job server, or the driver is outside the cluster and the run directory
            is on its own disk.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    started_here = False
    connected_here = False
    if not ray.is_initialized():
        wanted = address or os.environ.get("RAY_ADDRESS")
        if wanted and wanted != "local":
            source = "" if address else " (from RAY_ADDRESS)"
            _check_scheme(wanted, source)
            _check_reachable(wanted, source)
            _join(wanted, source)
            connected_here = True
        else:
            _start(num_cpus)
            started_here = connected_here = True
    try:
        is_client = bool(ray.util.client.ray.is_connected())
        if is_client and not shared_storage:
            raise InputError(
                "With a ray:// address the run directory would be on this machine's disk, which workers cannot reach.",
                "Give a storage path that all machines see, as a URI: s3://bucket/path, or file:///path if shared.",
            )
        yield Session(started_here=started_here, is_client=is_client)
    finally:
        if connected_here:
            ray.shutdown()


def _start(num_cpus: int | None) -> None:
    """Start Ray on this machine.

    Its workers run at the priority of this process. Ray's own default of 15 below it lets them wait for whatever else
    the machine does: a step of 0.3 s on a quiet machine was timed at 6 s beside other work, and at 0.9 s with
    this, beside like but not equal work (one run each, 2026-11-29).

    Raises:
        ResourceError: If it cannot keep its files where the environment says.
    """
    os.environ.setdefault("RAY_worker_niceness", "0")
    try:
        ray.init(
            address="local",
            num_cpus=num_cpus,
            include_dashboard=False,
            object_store_memory=_object_store_bytes(),
            logging_level=logging.ERROR,
            log_to_driver=False,
            **temp_options(),
        )
    except OSError as error:
        raise ResourceError(
            f"Ray cannot be started on this machine: {error}. Set RAY_TMPDIR to the short path (at most 30 characters) "
            "of a directory that can be written."
        ) from error


def _check_scheme(address: str, source: str) -> None:
    """Raise `InputError` for the address of a job server, which serves ``raytt submit`` but no driver."""
    if address.startswith(("http://", "https://")):
        unset = "unset RAY_ADDRESS or " if source else ""
        raise InputError(
            f"{address!r}{source} is the address of a job server, to which no driver can connect.",
            f"To compute on this machine, {unset}give the address 'local'; on the cluster's own machines give 'auto', "
            "from outside 'ray://HEAD:10001'; or let `raytt submit` run the ranking as a job there.",
        )


def _join(address: str, source: str = "") -> None:
    """Initialize Ray at an address, once more where Ray's client server failed to start its process for this driver.

    A client (ray://) is served by a process of its own on the head node. That process now and then dies while starting
    (seen on a busy machine; Ray then answers with ConnectionAbortedError), and the next one comes up.

    Raises:
        ResourceError: If there is no cluster at the address, or its client server fails again and again.
    """
    for attempt in range(1, _CLIENT_ATTEMPTS + 1):
        try:
            ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
        except (ConnectionError, RuntimeError, ValueError) as error:
            if attempt < _CLIENT_ATTEMPTS and isinstance(error, ConnectionAbortedError):
                time.sleep(_CLIENT_PAUSE_SECONDS)
                continue
            raise ResourceError(f"There is no Ray cluster to connect to at {address!r}{source}: {error}") from error
        return


def _check_reachable(address: str, source: str = "") -> None:
    """Raise `ResourceError` where nobody listens at host:port, which Ray itself finds out only after a minute."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_REACH_SECONDS).close()
    except OSError as error:
        raise ResourceError(f"There is no Ray cluster to connect to at {address!r}{source}: {error}.") from error


def _object_store_bytes() -> int:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(100 << 20, min(_OBJECT_STORE_BYTES, int(0.3 * memory)))


def has_room(worker: WorkerResources) -> bool:
    """Whether so much is free that nobody who asks for it waits for room: who is not there yet is only slow to start.

    Of all nodes together, so that it may be said of what lies scattered over several.
    """
    free = ray.available_resources()
    return all(free.get(name, 0.0) >= amount for name, amount in worker.totals().items())


def _amounts(resources: Mapping[str, float]) -> str:
    return ", ".join(f"{name}: {amount:g}" for name, amount in sorted(resources.items()))


def _nodes() -> str:
    """What the alive nodes have in total, without Ray's internal entries."""
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    described = [
        _amounts({k: v for k, v in node.items() if ":" not in k and k not in ("memory", "object_store_memory")})
        or "nothing"
        for node in alive
    ]
    return "; ".join(f"node {i} has {text}" for i, text in enumerate(described, start=1)) or "no node is alive"
