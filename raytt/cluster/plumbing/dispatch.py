"""Ray tasks that end: retried where that helps, reported where it does not.

For actors see `raytt.cluster.plumbing.workers`.
"""

from __future__ import annotations

import math
import re
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, ObjectLostError, RayError, RayTaskError

from raytt.cluster.plumbing.session import PLACEMENT_SECONDS, START_SECONDS, WorkerResources, has_room
from raytt.errors import RayttError, ResourceError, WorkerError

HANG_FACTOR = 10
"""How many times longer than the slowest so far is hanging; see `run_tasks` and
`raytt.cluster.plumbing.workers.Limits`."""

HANG_SECONDS = 1800.0
"""A task that has taken less than this is never taken to hang, however quick others were."""

_COLOURS = re.compile("\x1b\\[[0-9;]*m")


def run_tasks(
    submits: Sequence[Callable[[int], Any]],
    labels: Sequence[str],
    *,
    on_done: Callable[[int, Any], None],
    in_flight: int = 64,
    retries: int = 2,
    hang_seconds: float = HANG_SECONDS,
) -> None:
    """Work through Ray tasks, a bounded number at a time, in the given order.

    Ray itself retries tasks whose worker died; what is tried again here are tasks whose inputs were lost with a node,
    and tasks that hang.

    Args:
        submits: Each starts a task, given the attempt's number from 0, and returns the ref of its (small) result.
        labels: What each task does, for the user.
        on_done: Called on the driver with the task's number and its result.
        in_flight: Tasks submitted at a time.
        retries: Further attempts per task.
        hang_seconds: Once some task is done, one hangs that has taken longer than this since it was submitted, and than
            `HANG_FACTOR` times the slowest that was done.

    Raises:
        WorkerError: If a task fails; holds the remote traceback. Tasks that are done by then are handed on before.
        RayttError: An error of raytt's own that was raised on a worker, as it is.
    """
    waiting = deque((number, 0) for number in range(len(submits)))
    running: dict[Any, tuple[int, int, float]] = {}
    slowest: float | None = None
    try:
        while waiting or running:
            while waiting and len(running) < in_flight:
                number, attempt = waiting.popleft()
                running[submits[number](attempt)] = (number, attempt, time.monotonic())
            done, _ = ray.wait(list(running), num_returns=1, timeout=1.0)
            for ref in done:
                number, attempt, since = running.pop(ref)
                try:
                    result = ray.get(ref)
                except RayError as error:
                    if not is_lost(error) or attempt == retries:
                        _hand_on_finished(running, on_done)
                        raise as_ours(error, labels[number]) from None
                    waiting.appendleft((number, attempt + 1))
                else:
                    slowest = max(slowest or 0.0, time.monotonic() - since)
                    on_done(number, result)
            patience = math.inf if slowest is None else max(hang_seconds, HANG_FACTOR * slowest)
            for ref, (number, attempt, since) in list(running.items()):
                if time.monotonic() - since > patience:
                    del running[ref]
                    ray.cancel(ref, force=True)
                    if attempt == retries:
                        raise WorkerError(f"{labels[number]} hung {attempt + 1} times, each for {patience:.0f} s.")
                    waiting.appendleft((number, attempt + 1))
    finally:
        for ref in running:
            ray.cancel(ref, force=True)


def _hand_on_finished(running: dict[Any, tuple[int, int, float]], on_done: Callable[[int, Any], None]) -> None:
    """Hand on the results of tasks that are done already, so that the failure of one loses no other's work."""
    done, _ = ray.wait(list(running), num_returns=len(running), timeout=0.0) if running else ([], [])
    for ref in done:
        number, _, _ = running.pop(ref)
        # The first failure is the one that is told.
        with suppress(RayError):
            on_done(number, ray.get(ref))


def fetch(ref: Any, label: str, *, seconds: float | None = None, asked: str = "") -> Any:
    """The value of one ref, with failures told as `run_tasks` tells them.

    Raises:
        ResourceError: If it is not there after ``seconds``; says that ``asked`` was asked for.
    """
    try:
        return ray.get(ref, timeout=seconds)
    except GetTimeoutError:
        ray.cancel(ref, force=True)
        raise not_placed(asked, seconds or 0.0) from None
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
        ResourceError: If none could run within ``seconds``, and `START_SECONDS` more where there is room for it.
    """
    ref, label, asked = _NOTHING.remote(), "A task that does nothing", WorkerResources()
    done, _ = ray.wait([ref], timeout=seconds)
    if not done and has_room(asked):
        done, _ = ray.wait([ref], timeout=START_SECONDS)
        seconds += START_SECONDS
    if not done:
        ray.cancel(ref, force=True)
        raise not_placed(str(asked), seconds)
    fetch(ref, label)


def _nothing() -> None:
    """What a task does that only shows that there is room for tasks."""


_NOTHING: Any = ray.remote(num_cpus=1)(_nothing)


def worker_error(what: str, error: RayError) -> WorkerError:
    """The error that shows the user what happened on a worker."""
    return WorkerError(f"{what}:\n{text_of(error)}")


def text_of(error: RayError) -> str:
    """Ray's message with the remote traceback, without colours."""
    return _COLOURS.sub("", str(error)).strip()


def not_placed(asked: str, seconds: float) -> ResourceError:
    """The error of resources that did not come: what was asked for, and what there is."""

    def amounts(resources: dict[str, float]) -> str:
        shown = {k: v for k, v in resources.items() if ":" not in k and "memory" not in k}
        return ", ".join(f"{k}: {v:g}" for k, v in sorted(shown.items())) or "nothing"

    return ResourceError(
        f"Asked for {asked}, which did not come within {seconds:.0f} s: the cluster has "
        f"{amounts(ray.cluster_resources())} in total, of which {amounts(ray.available_resources())} are free. Wait "
        "for other jobs to end, ask for less, or give new nodes more time to start (--wait-seconds)."
    )
