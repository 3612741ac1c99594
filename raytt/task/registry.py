"""Things registered by name, such as optimizers; an unknown name raises and says the nearest known one."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Generic, TypeVar

from raytt.errors import InputError

T = TypeVar("T")


class Registry(Generic[T]):
    """Entries of one kind by name, in the order in which they were registered.

    Args:
        kind: What they are, in the singular, for messages: "optimizer".
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    def register(self, name: str, entry: T) -> None:
        """Add an entry.

        Raises:
            ValueError: If the name is taken.
        """
        if name in self._entries:
            raise ValueError(f"{self.kind} {name!r} is registered twice")
        self._entries[name] = entry

    def get(self, name: object) -> T:
        """The entry of that name.

        Raises:
            InputError: If there is none.
        """
        found = self._entries.get(name) if isinstance(name, str) else None
        if found is None:
            near = difflib.get_close_matches(str(name).lower(), self._entries, n=1)
            hint = f"Did you mean {near[0]!r}? " if near else ""
            raise InputError(f"Unknown {self.kind} {name!r}.", f"{hint}Known: {', '.join(self._entries)}.")
        return found

    def names(self) -> tuple[str, ...]:
        """All names, in the order of registration."""
        return tuple(self._entries)

    def __iter__(self) -> Iterator[T]:
        return iter(self._entries.values())
