from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from raytt.errors import InputError
from raytt.task.task import Task
from raytt.training.datasets import open_dataset
from raytt.training.objective import Objective


def make_task(data: Any, **options: Any) -> Task:
    return Task(name="t", model=nn.Identity, data=data, mode="train", **options)


def test_what_a_tokenizer_returns_is_read_row_by_row() -> None:
    from transformers import BatchEncoding

    ids, mask = torch.arange(12).reshape(4, 3), torch.ones(4, 3)
    data = BatchEncoding({"input_ids": ids, "attention_mask": mask, "labels": [0, 1, 1, 0]})
    task = make_task(data, batch_loss=lambda model, batch: batch["attention_mask"].sum())
    dataset = open_dataset(data, task)
    assert len(dataset) == 4  # type: ignore[arg-type]
    batch = Objective(task).read(dataset, [3, 1])
    assert torch.equal(batch["input_ids"], ids[[3, 1]])
    assert batch["labels"].tolist() == [0, 1]


def test_a_column_may_be_the_target() -> None:
    data = {"a": torch.zeros(3, 2), "y": torch.arange(3)}
    task = make_task(data, target_column="y")
    inputs, targets = Objective(task).read(open_dataset(data, task), [2, 0])
    assert inputs.shape == (2, 2)
    assert targets.tolist() == [2, 0]
    with pytest.raises(InputError, match=r"Cannot read data given as builtins.dict"):
        open_dataset(data, make_task(data))


def test_columns_of_other_lengths_are_refused() -> None:
    data = {"a": [1, 2], "b": [1, 2, 3]}
    with pytest.raises(InputError, match="differ in length: a 2, b 3"):
        open_dataset(data, make_task(data, collate=lambda items: items))
