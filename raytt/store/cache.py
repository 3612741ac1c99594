"""Results kept in a run directory under fingerprints of what they depend on: looked up, and recorded when computed.

Every stage of a run follows the same four steps: take the fingerprint of each item of work, look up what is stored
under it, compute what is missing, and record each result as soon as it is there. `Cache` says how results of one kind
are read and written; `Lookup` says which of some items are missing and collects the results. How missing ones are
computed is left to the caller; for Ray tasks see `raytt.cluster.plumbing.cached_tasks`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from raytt.store.run import Run

Item = TypeVar("Item")
Raw = TypeVar("Raw")
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Cache(Generic[Item, Raw, Result]):
    """How the results of one kind of work are kept."""

    key: Callable[[Item], str]
    """The fingerprint of all that the result of an item depends on."""
    read: Callable[[Item, str], Result | None]
    """The stored result of an item with that key; None where there is none or its file is damaged."""
    write: Callable[[Item, str, Raw], Result]
    """Stores what was computed of an item under its key; gives what ``read`` will give from now on."""


def json_cache(
    run: Run,
    *,
    key: Callable[[Item], str],
    file: Callable[[Item, str], str],
    encode: Callable[[Raw], Any],
    decode: Callable[[Any], Result],
) -> Cache[Item, Raw, Result]:
    """Results as JSON files of the run directory, one for each item.

    Args:
        run: The run directory.
        key: Fingerprint of an item.
        file: Where the result of an item with that key lies, below the run directory.
        encode: From what was computed to what JSON can hold.
        decode: From that to the result.
    """

    def read(item: Item, found: str) -> Result | None:
        stored = run.read_json(file(item, found), found)
        return None if stored is None else decode(stored)

    def write(item: Item, found: str, raw: Raw) -> Result:
        encoded = encode(raw)
        run.write_json(file(item, found), encoded, made_from=found)
        return decode(encoded)

    return Cache(key=key, read=read, write=write)


class Lookup(Generic[Item, Raw, Result]):
    """What is stored of some items, and which of them are missing.

    Args:
        items: In the order in which results are wanted.
        cache: Where results are kept.
        order: Missing items are sorted by this, then by key; None leaves them in the order of ``items``.
    """

    def __init__(
        self, items: Iterable[Item], cache: Cache[Item, Raw, Result], *, order: Callable[[Item], Any] | None = None
    ) -> None:
        self._cache = cache
        self._items = list(items)
        self._keys = [cache.key(item) for item in self._items]
        read = ((i, cache.read(item, self._keys[i])) for i, item in enumerate(self._items))
        self._found: dict[int, Result] = {i: stored for i, stored in read if stored is not None}
        self._missing = [i for i in range(len(self._items)) if i not in self._found]
        if order is not None:
            self._missing.sort(key=lambda i: (order(self._items[i]), self._keys[i]))

    @property
    def missing(self) -> list[Item]:
        """Items that were not stored, in the order in which to begin them."""
        return [self._items[i] for i in self._missing]

    def keep(self, number: int, raw: Raw) -> None:
        """Store what was computed of ``missing[number]``."""
        i = self._missing[number]
        self._found[i] = self._cache.write(self._items[i], self._keys[i], raw)

    def results(self) -> list[Result]:
        """The result of each item, in the order in which items were given.

        Raises:
            KeyError: If one was neither stored nor computed.
        """
        return [self._found[i] for i in range(len(self._items))]
