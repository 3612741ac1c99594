"""Work on Ray that ends: retried where that helps, reported where it does not, never hanging and never silently short.

Actors hold what is expensive to build (a network); every item of work depends on the item alone, so that it may run on
any actor, twice, or on the replacement of a dead one. ``ray.util.ActorPool`` would lose the item of an actor that dies,
and Ray's own actor restarts come back without their state, hence this small scheduler over ``ray.wait``.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, ObjectLostError, RayActorError, RayError, RayTaskError

from raytt.distributed.session import PLACEMENT_SECONDS
from raytt.errors import RayttError, ResourceError, WorkerError

_COLOURS = re.compile("\x1b\\[[0-9;]*m")


@dataclass(frozen=True, kw_only=True)
class Item:
    """A piece of work for any one of several equal actors."""

    label: str
    """What it is, for the user: e.g. "samples 0…15 of the training data"."""
    start: Callable[[Any], Sequence[Any]]
    """Starts it on an actor and gives its object refs: first that of a small receipt, which the driver fetches."""


@dataclass(eq=False)
class _Worker:
    """An actor and the item it works on."""

    handle: Any
    ready: Any
    since: float = field(default_factory=time.monotonic)
    loading: bool = False
    number: int | None = None
    refs: Sequence[Any] = ()


@dataclass(frozen=True, kw_only=True)
class Limits:
    """When waiting and trying again end."""

    placement_seconds: float = PLACEMENT_SECONDS
    """A worker must have been placed on a node by then."""
    load_seconds: float = 900.0
    """A worker must have built its network and opened its data by then."""
    retries: int = 2
    """Further attempts at an item that failed or whose worker died."""
    restarts: int = 3
    """Replacements of dead workers, all together."""


class Workers:
    """Equal actors that work through items; a context that kills them at its end.

    Args:
        spawn: Creates an actor. It must have the methods ``place()``, which returns at once, and ``load()``, which
            builds what the items need.
        limits: When waiting and trying again end.
    """

    def __init__(self, spawn: Callable[[], Any], *, limits: Limits | None = None) -> None:
        self._spawn_actor = spawn
        self._limits = limits or Limits()
        self._restarts_left = self._limits.restarts
        self._workers: list[_Worker] = []

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            ray.kill(worker.handle)
        self._workers.clear()

    def run(
        self, items: Sequence[Item], *, num_actors: int, on_done: Callable[[int, Any, Sequence[Any]], None]
    ) -> None:
        """Work through all items on up to ``num_actors`` actors; those of earlier calls go on.

        Args:
            items: The work.
            num_actors: Actors at a time, at most; no more than there are items are created.
            on_done: Called on the driver with an item's number, its receipt, and its remaining object refs.

        Raises:
            ResourceError: If no actor could be placed in time.
            WorkerError: If loading fails or takes too long, an item fails more often than it is retried, or actors die
                more often than they are replaced; holds the remote traceback.
            RayttError: An error of raytt's own that was raised on a worker, as it is: a retry would not change it.
        """
        self._items = items
        self._on_done = on_done
        self._waiting = deque(range(len(items)))
        self._attempts = [0] * len(items)
        self._left = len(items)
        while len(self._workers) < min(num_actors, len(items)):
            self._spawn()
        self._assign()
        while self._left:
            self._step()

    def _spawn(self) -> None:
        handle = self._spawn_actor()
        self._workers.append(_Worker(handle=handle, ready=handle.place.remote()))

    def _step(self) -> None:
        """Wait for anything to happen, then give idle workers something to do."""
        pending = {worker.ready: worker for worker in self._workers if worker.ready is not None}
        done, _ = ray.wait(list(pending), num_returns=1, timeout=1.0, fetch_local=False)
        for ref in done:
            worker = pending[ref]
            worker.ready = None
            try:
                receipt = ray.get(ref)
            except RayTaskError as error:
                self._failed(worker, error)
            except RayError as error:
                self._died(worker, error)
            else:
                self._advance(worker, receipt)
        self._check_time()
        self._assign()

    def _assign(self) -> None:
        for worker in self._workers:
            if worker.ready is None and self._waiting:
                worker.number = self._waiting.popleft()
                self._attempts[worker.number] += 1
                worker.refs = self._items[worker.number].start(worker.handle)
                worker.ready = worker.refs[0]

    def _advance(self, worker: _Worker, receipt: Any) -> None:
        if worker.number is not None:
            number, refs = worker.number, worker.refs
            worker.number, worker.refs = None, ()
            self._left -= 1
            self._on_done(number, receipt, refs[1:])
        elif not worker.loading:
            worker.loading = True
            worker.since = time.monotonic()
            worker.ready = worker.handle.load.remote()
        else:
            worker.since = float("inf")

    def _failed(self, worker: _Worker, error: RayTaskError) -> None:
        """The code of an item, or of loading, raised."""
        if isinstance(error.cause, RayttError):
            raise error.cause
        if worker.number is None:
            raise worker_error("A worker could not load the task", error)
        self._retry(worker, error)

    def _died(self, worker: _Worker, error: RayError) -> None:
        """The actor is gone, and whatever it worked on must be done again."""
        self._workers.remove(worker)
        # An actor may be unreachable rather than dead; killed, it cannot come back beside its replacement.
        ray.kill(worker.handle)
        if isinstance(error, RayActorError) and error.actor_init_failed:
            raise worker_error("A worker could not start", error)
        if worker.number is not None:
            self._retry(worker, error)
        if self._restarts_left:
            self._restarts_left -= 1
            self._spawn()
        elif not self._workers:
            raise worker_error("All workers died, more often than they are replaced", error)

    def _retry(self, worker: _Worker, error: RayError) -> None:
        number = worker.number
        assert number is not None
        worker.number, worker.refs = None, ()
        if self._attempts[number] > self._limits.retries:
            times = f" {self._attempts[number]} times" if self._attempts[number] > 1 else ""
            raise worker_error(f"{self._items[number].label} failed{times}", error)
        self._waiting.appendleft(number)

    def _check_time(self) -> None:
        for worker in list(self._workers):
            waited = time.monotonic() - worker.since
            if worker.loading and waited > self._limits.load_seconds:
                raise WorkerError(
                    f"A worker has been building the network and opening the data for {waited:.0f} s, which is the "
                    "limit. Check the model and data factories for something that waits (a download, a lock)."
                )
            if not worker.loading and waited > self._limits.placement_seconds:
                # While others are at work, this one would only have made it faster.
                self._workers.remove(worker)
                ray.kill(worker.handle)
        if not self._workers:
            raise _not_placed(self._limits.placement_seconds)


def run_tasks(
    submits: Sequence[Callable[[int], Any]],
    labels: Sequence[str],
    *,
    on_done: Callable[[int, Any], None],
    in_flight: int = 64,
    retries: int = 2,
) -> None:
    """Work through Ray tasks, a bounded number at a time, in the given order.

    Ray itself retries tasks whose worker died; what is tried again here are tasks whose inputs were lost with a node.

    Args:
        submits: Each starts a task, given the attempt's number from 0, and returns the ref of its (small) result.
        labels: What each task does, for the user.
        on_done: Called on the driver with the task's number and its result.
        in_flight: Tasks submitted at a time.
        retries: Further attempts per task.

    Raises:
        WorkerError: If a task fails; holds the remote traceback.
        RayttError: An error of raytt's own that was raised on a worker, as it is.
    """
    waiting = deque((number, 0) for number in range(len(submits)))
    running: dict[Any, tuple[int, int]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < in_flight:
                number, attempt = waiting.popleft()
                running[submits[number](attempt)] = (number, attempt)
            done, _ = ray.wait(list(running), num_returns=1)
            for ref in done:
                number, attempt = running.pop(ref)
                try:
                    result = ray.get(ref)
                except RayError as error:
                    if not is_lost(error) or attempt == retries:
                        raise as_ours(error, labels[number]) from None
                    waiting.appendleft((number, attempt + 1))
                else:
                    on_done(number, result)
    finally:
        for ref in running:
            ray.cancel(ref, force=True)


def fetch(ref: Any, label: str, *, seconds: float | None = None) -> Any:
    """The value of one ref, with failures told as `run_tasks` tells them.

    Raises:
        ResourceError: If it is not there after ``seconds``.
    """
    try:
        return ray.get(ref, timeout=seconds)
    except GetTimeoutError:
        ray.cancel(ref, force=True)
        raise _not_placed(seconds or 0.0) from None
    except RayError as error:
        raise as_ours(error, label) from None


def is_lost(error: RayError) -> bool:
    """Whether work failed only because what it was to work on was lost with a node."""
    return isinstance(error.cause if isinstance(error, RayTaskError) else error, ObjectLostError)


def as_ours(error: RayError, label: str) -> RayttError:
    """An error of raytt's own that was raised on a worker, as it is; else one that shows the remote traceback."""
    cause = error.cause if isinstance(error, RayTaskError) else error
    return cause if isinstance(cause, RayttError) else worker_error(f"{label} failed", error)


def await_cpu(seconds: float = PLACEMENT_SECONDS) -> None:
    """Wait until a task for one CPU has run, so that others like it will not wait for ever on a busy cluster.

    Raises:
        ResourceError: If none could run within ``seconds``.
    """
    fetch(_NOTHING.remote(), "A task that does nothing", seconds=seconds)


def _nothing() -> None:
    """What a task does that only shows that there is room for tasks."""


_NOTHING: Any = ray.remote(num_cpus=1)(_nothing)


def worker_error(what: str, error: RayError) -> WorkerError:
    """The error that shows the user what happened on a worker."""
    return WorkerError(f"{what}:\n{_COLOURS.sub('', str(error)).strip()}")


def _not_placed(seconds: float) -> ResourceError:
    def amounts(resources: dict[str, float]) -> str:
        shown = {k: v for k, v in resources.items() if ":" not in k and "memory" not in k}
        return ", ".join(f"{k}: {v:g}" for k, v in sorted(shown.items())) or "nothing"

    return ResourceError(
        f"No worker got its resources within {seconds:.0f} s: the cluster has {amounts(ray.cluster_resources())} in "
        f"total, of which {amounts(ray.available_resources())} are free. Wait for other jobs to end, or ask for less."
    )
