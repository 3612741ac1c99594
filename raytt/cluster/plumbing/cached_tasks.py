"""Ray tasks whose results are kept in the run directory: only what is missing there is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from raytt.cluster.plumbing.dispatch import HANG_SECONDS, run_tasks
from raytt.cluster.plumbing.progress import Phase
from raytt.store.cache import Cache, Item, Lookup, Raw, Result


def run_cached(
    items: Iterable[Item],
    cache: Cache[Item, Raw, Result],
    *,
    start: Callable[[Item], Any],
    label: Callable[[Item], str],
    what: str,
    phase: Phase,
    in_flight: int = 64,
    order: Callable[[Item], Any] | None = None,
    hang_seconds: float = HANG_SECONDS,
) -> list[Result]:
    """The result of each item, stored or computed by a Ray task; each is recorded as soon as its task is done.

    An interrupted or failed call keeps what was recorded, so that the next one computes the rest alone.

    Args:
        items: In the order in which results are wanted; that in which tasks end does not matter.
        cache: Where results are kept.
        start: Starts the task of an item and gives the ref of its small result, which ``cache.write`` is given. Called
            once more where inputs were lost with a node, or the task hung.
        label: What the task does, for the user.
        what: All tasks together, for the user.
        phase: Shows progress.
        in_flight: Tasks at a time.
        order: Missing items are begun in this order, ties by key; None: as given.
        hang_seconds: See `run_tasks`.

    Raises:
        WorkerError: If a task fails; holds the remote traceback.
        RayttError: An error of raytt's own that was raised on a worker, as it is.
    """
    lookup = Lookup(items, cache, order=order)

    def keep(number: int, raw: Raw) -> None:
        lookup.keep(number, raw)
        phase.advance()

    missing = lookup.missing
    phase.expect(len(missing), what)
    run_tasks(
        [partial(_submit, start, item) for item in missing],
        [label(item) for item in missing],
        on_done=keep,
        in_flight=in_flight,
        hang_seconds=hang_seconds,
    )
    return lookup.results()


def _submit(start: Callable[[Item], Any], item: Item, _: int) -> Any:
    """As `run_tasks` wants it: the attempt's number changes nothing."""
    return start(item)
