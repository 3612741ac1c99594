from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest
from torch.utils.data import IterableDataset

import raytt
from raytt.adapters.items import Items
from raytt.training.datasets import fetch_items, open_dataset


class Batched:
    """Fetches several items at once, as data sets of the datasets library do."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []

    def __len__(self) -> int:
        return 5

    def __getitem__(self, position: int) -> int:
        raise AssertionError("one at a time")

    def __getitems__(self, positions: list[int]) -> list[int]:
        self.asked.append(positions)
        return [10 * position for position in positions]


class Endless(IterableDataset[int]):
    def __iter__(self) -> Iterator[int]:
        return count()


def test_two_dictionaries_are_two_items() -> None:
    rows = [{"a": 1}, {"a": 2}]
    task = raytt.Task(name="rows", model=lambda: None, data=Items(rows, "data"), mode="train")  # type: ignore[arg-type, return-value]
    dataset = open_dataset(task.data, task)
    assert fetch_items(dataset, [1, 0]) == [{"a": 2}, {"a": 1}]


def test_several_items_are_fetched_at_once_where_that_is_possible() -> None:
    rows = Batched()
    assert fetch_items(Items(rows, "data"), [3, 1]) == [30, 10]
    assert rows.asked == [[3, 1]]
    assert Items(rows, "data").travels_with == (Batched,)


def test_refuses_what_has_no_positions() -> None:
    with pytest.raises(raytt.InputError, match="training data set is a Endless"):
        Items(Endless(), "training data set")
