"""Actors that work through items: lost, failing and hung ones are replaced, and what they worked on is done again.

Actors hold what is expensive to build (a network); every item of work depends on the item alone, so that it may run on
any actor, twice, or on the replacement of a dead one. ``ray.util.ActorPool`` would lose the item of an actor that dies,
and Ray's own actor restarts come back without their state, hence this small scheduler over ``ray.wait``.

Actors may come and go with their nodes. Those that the cluster has no room for yet wait for nodes to join (and let an
autoscaler know that they are wanted); an actor that goes with its node is not at fault, and is replaced elsewhere.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from raytt.cluster.plumbing.dispatch import HANG_FACTOR, not_placed, text_of, worker_error
from raytt.cluster.plumbing.session import PLACEMENT_SECONDS, START_SECONDS, WorkerResources, has_room
from raytt.errors import RayttError, WorkerError
from raytt.settings.cluster import ClusterSettings


@dataclass(frozen=True, kw_only=True)
class Item:
    """A piece of work for any one of several equal actors."""

    label: str
    """What it is, for the user: e.g. "samples 0…15 of the training data"."""
    start: Callable[[Any], Sequence[Any]]
    """Starts it on an actor and gives its object refs: first that of a small receipt, which the driver fetches."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """When waiting and trying again end."""

    min_workers: int = 1
    """So many workers must have been placed on nodes in time; the others may come whenever there is room."""
    placement_seconds: float = PLACEMENT_SECONDS
    """The time for that."""
    load_seconds: float = 900.0
    """A worker must have built its network and opened its data by then."""
    item_seconds: float = 3600.0
    """The first item must be done by then."""
    hang_seconds: float = 300.0
    """Once it is, a worker hangs that has been at an item for longer than this and than `HANG_FACTOR` times the slowest
    that was done (loading counts)."""
    retries: int = 2
    """Further attempts at an item that failed, or whose worker hung or died."""
    restarts: int = 3
    """Replacements of dead workers, all together."""
    lost_nodes: int = 100
    """Workers that may go with their nodes, all together, before that counts as failing and dying."""

    @classmethod
    def of(cls, settings: ClusterSettings) -> Limits:
        """Those that the settings ask for."""
        return cls(min_workers=settings.min_workers or 1, placement_seconds=settings.wait_seconds or PLACEMENT_SECONDS)


def patient(limits: Limits) -> Limits:
    """Limits on a Ray of our own whose resources were checked: nobody else holds them, so that a worker that is not
    there yet is only slow to start, as on a machine that is busy with something else.
    """
    return replace(limits, placement_seconds=max(limits.placement_seconds, limits.load_seconds))


class _State(Enum):
    PLACING = auto()
    LOADING = auto()
    LOADED = auto()


@dataclass(eq=False)
class _Worker:
    """An actor and the item it works on."""

    handle: Any
    ready: Any
    state: _State = _State.PLACING
    node: str | None = None
    since: float = field(default_factory=time.monotonic)
    number: int | None = None
    refs: Sequence[Any] = ()

    def begin(self, ready: Any) -> None:
        self.ready = ready
        self.since = time.monotonic()

    @property
    def waited(self) -> float:
        """Seconds since it was given what it does now."""
        return time.monotonic() - self.since


class Workers:
    """Equal actors that work through items; a context that kills them at its end.

    Args:
        spawn: Creates an actor. It must have the methods ``place()``, which returns at once with the id of its node (or
            None), and ``load()``, which builds what the items need.
        asked: What each asks for; None: one CPU.
        limits: When waiting and trying again end.
        on_retry: Called on the driver with a sentence whenever something is done again.
    """

    def __init__(
        self,
        spawn: Callable[[], Any],
        *,
        asked: WorkerResources | None = None,
        limits: Limits | None = None,
        on_retry: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._spawn_actor = spawn
        self._asked = asked or WorkerResources()
        self._limits = limits or Limits()
        self._on_retry = on_retry
        self._restarts_left = self._limits.restarts
        self._losses_left = self._limits.lost_nodes
        self._placed = 0
        self._slowest = 0.0
        self._workers: list[_Worker] = []

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            ray.kill(worker.handle)
        self._workers.clear()

    def run(
        self,
        items: Sequence[Item],
        *,
        num_actors: int,
        on_done: Callable[[int, Any, Sequence[Any]], None],
        on_quiet: Callable[[], None] = lambda: None,
    ) -> None:
        """Work through all items on up to ``num_actors`` actors; those of earlier calls go on.

        Args:
            items: The work.
            num_actors: Actors at a time, at most; no more than there are items are created.
            on_done: Called on the driver with an item's number, its receipt, and its remaining object refs.
            on_quiet: Called on the driver after each second in which nothing happened.

        Raises:
            ResourceError: If fewer actors than the least could be placed in time.
            WorkerError: If loading fails or takes too long, an item fails more often than it is retried, or actors die
                more often than they are replaced; holds the remote traceback.
            RayttError: An error of raytt's own that was raised on a worker, as it is: a retry would not change it.
        """
        self._items = items
        self._on_done = on_done
        self._on_quiet = on_quiet
        self._waiting = deque(range(len(items)))
        self._attempts = [0] * len(items)
        self._left = len(items)
        wanted = min(num_actors, len(items))
        self._least = min(self._limits.min_workers, wanted)
        while len(self._workers) < wanted:
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
        if not done:
            self._on_quiet()
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
                worker.begin(worker.refs[0])

    def _advance(self, worker: _Worker, receipt: Any) -> None:
        if worker.state is _State.PLACING:
            self._placed += 1
            worker.node = receipt
            worker.state = _State.LOADING
            worker.begin(worker.handle.load.remote())
            return
        self._slowest = max(self._slowest, worker.waited)
        if worker.state is _State.LOADING:
            worker.state = _State.LOADED
            return
        number, refs = worker.number, worker.refs
        assert number is not None
        worker.number, worker.refs = None, ()
        self._left -= 1
        self._on_done(number, receipt, refs[1:])

    def _failed(self, worker: _Worker, error: RayTaskError) -> None:
        """The code of an item, or of loading, raised."""
        if isinstance(error.cause, RayttError):
            raise error.cause
        if worker.number is None:
            raise worker_error("A worker could not load the task", error)
        self._retry(worker, text_of(error))

    def _died(self, worker: _Worker, error: RayError) -> None:
        """The actor is gone, and whatever it worked on must be done again."""
        if isinstance(error, RayActorError) and error.actor_init_failed:
            raise worker_error("A worker could not start", error)
        if self._losses_left and _went_with_its_node(worker, error):
            self._losses_left -= 1
            self._on_retry("A worker went with its node; its work goes to others.")
            if worker.number is not None:
                self._attempts[worker.number] -= 1
                self._waiting.appendleft(worker.number)
            self._remove(worker)
            self._spawn()
        else:
            self._replace(worker, text_of(error))

    def _replace(self, worker: _Worker, why: str) -> None:
        """Do again what a worker did that died or hung, on another one if that may be."""
        self._remove(worker)
        if worker.number is not None:
            self._retry(worker, why)
        if self._restarts_left:
            self._restarts_left -= 1
            self._spawn()
        elif not self._workers:
            raise WorkerError(f"All workers died, more often than they are replaced:\n{why}")

    def _remove(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        # An actor may be unreachable or hung rather than dead; killed, it cannot come back beside its replacement.
        ray.kill(worker.handle)

    def _retry(self, worker: _Worker, why: str) -> None:
        number = worker.number
        assert number is not None
        worker.number, worker.refs = None, ()
        attempts, label = self._attempts[number], self._items[number].label
        if attempts > self._limits.retries:
            times = f" {attempts} times" if attempts > 1 else ""
            raise WorkerError(f"{label} failed{times}:\n{why}")
        # The last line of a traceback says most.
        self._on_retry(f"{label} failed and is tried again ({attempts} of {self._limits.retries}): {_last_line(why)}")
        self._waiting.appendleft(number)

    def _check_time(self) -> None:
        for worker in list(self._workers):
            if worker.state is _State.LOADING and worker.waited > self._limits.load_seconds:
                raise WorkerError(
                    f"A worker has been building the network and opening the data for {worker.waited:.0f} s, which is "
                    "the limit. Check the model and data factories for something that waits (a download, a lock)."
                )
            if worker.number is not None and worker.waited > self._patience():
                self._replace(
                    worker,
                    f"The worker hung: it has been at it for {worker.waited:.0f} s, where {self._patience():.0f} s "
                    "would be much. Check the model, forward and collate for something that waits.",
                )
        placing = [worker.waited for worker in self._workers if worker.state is _State.PLACING]
        # An actor that was placed once and then left counts: work continues with the others.
        too_few = self._placed < self._least or len(placing) == len(self._workers)
        late = placing and too_few and min(placing) > self._limits.placement_seconds
        if late and not (has_room(self._asked) and min(placing) <= START_SECONDS):
            each = f"{self._least} workers with {self._asked} each" if self._least > 1 else str(self._asked)
            raise not_placed(each, self._limits.placement_seconds)

    def _patience(self) -> float:
        if self._left == len(self._items):
            return max(self._limits.item_seconds, self._limits.hang_seconds)
        return max(self._limits.hang_seconds, HANG_FACTOR * self._slowest)


def _went_with_its_node(worker: _Worker, error: RayError) -> bool:
    if getattr(error, "preempted", False):
        return True
    return worker.node is not None and not any(n["Alive"] for n in ray.nodes() if n["NodeID"] == worker.node)


def _last_line(text: str) -> str:
    return text.strip().splitlines()[-1].strip() if text.strip() else "no reason given"
