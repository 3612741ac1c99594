"""Memory of training steps in words: beside each configuration, and what is to be done where it does not fit."""

from __future__ import annotations

from collections.abc import Sequence

from raytt.results.entry import Entry
from raytt.results.fit import human_bytes, remedy

DOES_NOT_FIT = (
    "its training steps need more memory than the machine has for them; the same samples per step in smaller "
    "minibatches are named below. With batch norm a smaller minibatch is another configuration."
)
"""What the mark means."""


def memory_of(entry: Entry) -> str:
    """The peak memory of an entry's steps, marked where it does not fit the machine."""
    if entry.fit is None:
        return "–"
    size = human_bytes(entry.fit.peak)
    return f"{size} does not fit" if entry.fit.fits is False else size


def fit_notes(entries: Sequence[Entry], machine: str) -> tuple[str, ...]:
    """One sentence about each of the entries that do not fit the machine on which they are ranked."""
    return tuple(
        f"# {entry.rank} does not fit {machine} ({human_bytes(entry.fit.peak)} of {human_bytes(entry.fit.usable)}): "
        f"{remedy(entry.fit)}."
        for entry in entries
        if entry.fit is not None and entry.fit.usable is not None and entry.fit.fits is False
    )
