"""A library's data set, read by position as it is."""

from __future__ import annotations

from typing import Any

from torch.utils.data import Dataset

from raytt.errors import InputError


class Items(Dataset[Any]):
    """Items of a map-style data set, whatever else its class can do.

    raytt tells forms of data apart by what they look like: a list of two items, say, for a pair of inputs and targets.
    Wrapped, a data set that a library reads by position is read by position.

    Args:
        dataset: What is read; needs ``__len__`` and ``__getitem__``.
        what: Name in messages.

    Raises:
        InputError: If it cannot be read by position.
    """

    def __init__(self, dataset: Any, what: str) -> None:
        if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
            raise InputError(
                f"The {what} is a {type(dataset).__name__}, whose samples cannot be read by position.",
                "Give a map-style data set, for example a list of the first samples.",
            )
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, position: int) -> Any:
        return self._dataset[position]

    def __getitems__(self, positions: list[int]) -> list[Any]:
        """Several at once, where the data set can."""
        fetch = getattr(self._dataset, "__getitems__", None)
        return [self._dataset[i] for i in positions] if fetch is None else list(fetch(positions))

    @property
    def travels_with(self) -> tuple[Any, ...]:
        """The class of the data set, whose code workers need."""
        return (type(self._dataset),)
