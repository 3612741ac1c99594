from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from raytt.rates.randomness_check import training_facts
from raytt.task.task import Task
from raytt.training.datasets import open_dataset
from raytt.training.stream_dataset import MOST_ITEMS, Head


class Numbers(IterableDataset[Any]):
    """Without end."""

    def __iter__(self) -> Iterator[Any]:
        return ((torch.tensor([float(number % 7), 1.0]), number % 2) for number in itertools.count())


def model() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Linear(2, 2)


def test_the_head_is_kept_and_said() -> None:
    head = Head(Numbers(), 10)
    assert (len(head), head[9][1]) == (10, 1)
    assert "its first 10 items stand for the training set" in head.notes[0]
    assert Head([1, 2, 3], 10).notes == ()


def test_streams_are_data() -> None:
    for data in (Numbers(), Numbers, DataLoader(Numbers(), batch_size=3)):
        task = Task(name="t", model=model, data=data, mode="train")
        assert len(open_dataset(data, task)) == MOST_ITEMS  # type: ignore[arg-type]
    facts = training_facts(Task(name="t", model=model, data=Numbers, mode="train"))
    assert facts.num_samples == MOST_ITEMS
    assert facts.notes[0].startswith("The data is a stream")


def test_streams_of_hugging_face() -> None:
    import datasets

    rows = datasets.Dataset.from_dict({"x": [[1.0, 2.0], [3.0, 4.0]], "y": [0, 1]})
    task = Task(name="t", model=model, data=rows.to_iterable_dataset, mode="train", target_column="y")
    assert open_dataset(task.data, task)[1] == {"x": [3.0, 4.0], "y": 1}
