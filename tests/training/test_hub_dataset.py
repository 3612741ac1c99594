from __future__ import annotations

from typing import Any

import datasets
import pytest
import torch
from torch import nn

from raytt.errors import InputError
from raytt.task.task import Task
from raytt.training.datasets import open_dataset
from raytt.training.objective import Objective

TABLE = datasets.Dataset.from_dict(
    {"input_ids": [[1, 2], [3, 4], [5, 6]], "labels": [0, 1, 1], "text": ["a", "b", "c"]}
)


def make_task(**options: Any) -> Task:
    return Task(name="t", model=nn.Identity, data=TABLE, mode="train", **options)


def test_numbers_become_tensors_and_text_stays() -> None:
    task = make_task(batch_loss=lambda model, batch: batch["input_ids"].float().mean())
    batch = Objective(task).read(open_dataset(TABLE, task), [2, 0])
    assert batch["input_ids"].tolist() == [[5, 6], [1, 2]]
    assert batch["labels"].tolist() == [1, 0]
    assert batch["text"] == ["c", "a"]


def test_a_collate_sees_items_as_the_table_gives_them() -> None:
    task = make_task(batch_loss=lambda model, batch: batch, collate=lambda items: [item["input_ids"] for item in items])
    assert Objective(task).read(open_dataset(TABLE, task), [1]) == [[3, 4]]


def test_a_column_may_be_the_target() -> None:
    task = make_task(input_columns=["input_ids"], target_column="labels")
    inputs, targets = Objective(task).read(open_dataset(TABLE, task), [0, 2])
    assert torch.equal(inputs, torch.tensor([[1, 2], [5, 6]]))
    assert targets.tolist() == [0, 1]


def test_splits_are_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"a DatasetDict of train, test\. Give one of its splits"):
        open_dataset(datasets.DatasetDict({"train": TABLE, "test": TABLE}), make_task())
