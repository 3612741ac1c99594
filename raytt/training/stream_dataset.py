"""Streams: a torch ``IterableDataset``, or one of Hugging Face ``datasets``, of which a bounded head is kept."""

from __future__ import annotations

import itertools
import sys
from typing import Any

from torch.utils.data import Dataset, IterableDataset

from raytt.training.source import Opener

MOST_ITEMS = 4096
"""Items of a stream that are kept: eight times the samples that an evaluation looks at, and little to read."""


class Head(Dataset[Any]):
    """The first items of a stream, read once and kept.

    Args:
        stream: Whatever can be iterated over; it must begin anew each time.
        most: How many are kept.
    """

    def __init__(self, stream: Any, most: int = MOST_ITEMS) -> None:
        self._items = list(itertools.islice(iter(stream), most))
        self.notes: tuple[str, ...] = ()
        if len(self._items) == most:
            self.notes = (
                f"The data is a stream: its first {most:,} items stand for the training set. Budgets in epochs count "
                "passes over these (give max_steps instead), and each item is met again.",
            )

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, position: int) -> Any:
        return self._items[position]


def is_stream(source: Any) -> bool:
    """Whether data can only be read one after the other."""
    # Whoever holds one has imported datasets.
    module = sys.modules.get("datasets")
    return isinstance(source, IterableDataset) or (module is not None and isinstance(source, module.IterableDataset))


STREAM = Opener(
    form=f"an IterableDataset (its first {MOST_ITEMS:,} items)",
    accepts=lambda source, task: is_stream(source),
    open=lambda source, task: Head(source),
)
