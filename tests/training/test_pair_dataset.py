"""Lists as columns: what is read as (inputs, targets), and what stays a list of items."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from raytt.errors import InputError
from raytt.task.task import Task
from raytt.training.datasets import load_batch, open_dataset

ROWS = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
LABELS = [1, 0, 1]


def make_task(data: Any, **options: Any) -> Task:
    return Task(mode="eval", name="t", model=nn.Identity, data=data, **options)


@pytest.mark.parametrize(
    "source",
    [
        (ROWS, LABELS),
        [ROWS, LABELS],
        (tuple(ROWS), tuple(LABELS)),
        (torch.tensor(ROWS), LABELS),
        (ROWS, np.array(LABELS)),
        ([torch.tensor(row) for row in ROWS], LABELS),
        ([np.array(row, np.float32) for row in ROWS], [torch.tensor(y) for y in LABELS]),
    ],
    ids=repr,
)
def test_lists_are_columns(source: Any) -> None:
    task = make_task(source)
    dataset = open_dataset(source, task)
    assert len(dataset) == 3  # type: ignore[arg-type]
    inputs, targets = load_batch(task, dataset, [2, 0])
    assert isinstance(inputs, Tensor)
    assert (inputs.dtype, targets.dtype) == (torch.float32, torch.int64)
    assert inputs.tolist() == [ROWS[2], ROWS[0]]
    assert targets.tolist() == [1, 1]


def test_mappings_of_lists_are_columns() -> None:
    source = ({"ids": [[1, 2], [3, 4], [5, 6]], "scale": [0.5, 1.0, 2.0]}, LABELS)
    task = make_task(source)
    inputs, _ = load_batch(task, open_dataset(source, task), [1])
    assert isinstance(inputs, dict)
    assert {k: (v.dtype, v.tolist()) for k, v in inputs.items()} == {
        "ids": (torch.int64, [[3, 4]]),
        "scale": (torch.float32, [1.0]),
    }


def test_two_pairs_stay_two_items() -> None:
    source = [(torch.tensor([1.0, 2.0]), 1), (torch.tensor([3.0, 4.0]), 0)]
    for items in (source, tuple(source)):
        task = make_task(items)
        inputs, targets = load_batch(task, open_dataset(items, task), [0, 1])
        assert isinstance(inputs, Tensor)
        assert inputs.tolist() == [[1.0, 2.0], [3.0, 4.0]]
        assert targets.tolist() == [1, 0]


def test_a_list_of_two_lists_stays_items_for_an_own_collate() -> None:
    def collate(items: list[Any]) -> tuple[Any, Tensor]:
        return torch.tensor([item[:2] for item in items]), torch.tensor([item[2] for item in items])

    source = [[1.0, 2.0, 1], [3.0, 4.0, 0]]
    task = make_task(source, collate=collate)
    assert load_batch(task, open_dataset(source, task), [0, 1])[1].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ((["good", "bad", "odd"], LABELS), r"pair \(inputs, targets\), but the inputs cannot be.*list\(zip\(inputs"),
        (([[1.0], [1.0, 2.0], [1.0]], LABELS), "the inputs cannot be made a tensor.*pads them"),
        (([torch.zeros(1), torch.zeros(2), torch.zeros(1)], LABELS), "the inputs cannot be made a tensor"),
        ((ROWS, [0, None, 1]), "the targets cannot be made a tensor"),
        ((np.array(["a", "b", "c"]), LABELS), "the inputs cannot be made a tensor"),
        ((ROWS, LABELS[:2]), r"the inputs has shape \(3, 2\), but the targets have shape \(2,\)"),
        (([], []), "empty"),
    ],
)
def test_unusable_lists(source: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_dataset(source, make_task(source))
