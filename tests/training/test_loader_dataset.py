"""Loaders: data set, collation and the samplers that are known."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from raytt.errors import InputError
from raytt.rates.randomness import seeded
from raytt.task.task import Task
from raytt.training.datasets import load_batch, open_dataset
from raytt.training.objective import Objective

X, Y = torch.arange(10.0).unsqueeze(1), torch.arange(10) % 2
DATA = TensorDataset(X, Y)


def opened(loader: Any, **options: Any) -> tuple[Task, Any]:
    task = Task(name="t", model=nn.Identity, data=loader, **{"mode": "train", **options})
    return task, open_dataset(loader, task)


def test_a_plain_loader_is_its_data_set() -> None:
    for loader in (DataLoader(DATA), DataLoader(DATA, batch_size=4, shuffle=True, drop_last=True)):
        task, dataset = opened(loader, mode="eval")
        inputs, targets = load_batch(task, dataset, [3, 1])
        assert inputs.tolist() == [[3.0], [1.0]]  # type: ignore[union-attr]
        assert targets.tolist() == [1, 1]


def test_its_collation_is_taken() -> None:
    def collate(items: list[Any]) -> tuple[Tensor, Tensor]:
        return torch.stack([2 * x for x, _ in items]), torch.stack([y for _, y in items])

    task, dataset = opened(DataLoader(DATA, collate_fn=collate))
    assert Objective(task).read(dataset, [3, 1])[0].tolist() == [[6.0], [2.0]]
    # A collate of the task's own stands above it.
    task, dataset = opened(DataLoader(DATA, collate_fn=collate), collate=torch.utils.data.default_collate)
    assert Objective(task).read(dataset, [3])[0].tolist() == [[3.0]]


def test_a_subset() -> None:
    _, dataset = opened(DataLoader(DATA, sampler=SubsetRandomSampler([7, 2])))
    assert [float(dataset[i][0]) for i in range(len(dataset))] == [7.0, 2.0]


def test_weights_are_drawn_anew_whenever_an_item_is_read() -> None:
    weights = [4.0 if number % 2 else 1.0 for number in range(10)]
    _, dataset = opened(DataLoader(DATA, sampler=WeightedRandomSampler(weights, 6)))
    assert len(dataset) == 6
    with seeded("draws", 0):
        labels = torch.tensor([float(dataset[number % 6][1]) for number in range(4000)])
    # The share of odd ones is 0.8; its standard error with 4,000 draws is 0.006.
    assert labels.mean().item() == pytest.approx(0.8, abs=0.03)
    with seeded("draws", 1):
        one = [float(dataset[0][0]) for _ in range(5)]
    with seeded("draws", 1):
        assert [float(dataset[0][0]) for _ in range(5)] == one
    _, uniform = opened(DataLoader(DATA, sampler=RandomSampler(DATA, replacement=True, num_samples=3)))
    assert len(uniform) == 3


class Backwards(Sampler[int]):
    def __len__(self) -> int:
        return 10

    def __iter__(self) -> Any:
        return iter(range(9, -1, -1))


class Pairs(BatchSampler):
    pass


@pytest.mark.parametrize(
    ("loader", "message"),
    [
        (DataLoader(DATA, sampler=Backwards()), "has a Backwards, which raytt cannot follow.*Task.collate"),
        (DataLoader(DATA, sampler=WeightedRandomSampler([1.0] * 10, 5, replacement=False)), "WeightedRandomSampler"),
        (DataLoader(DATA, sampler=RandomSampler(DATA, num_samples=4)), "RandomSampler of 4 of 10 samples"),
        (DataLoader(DATA, batch_sampler=Pairs(SequentialSampler(DATA), 2, False)), "batches from Pairs"),
        (DataLoader(DATA, batch_size=None), "batch_size=None"),
    ],
)
def test_other_samplers_are_refused(loader: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        opened(loader)


def test_weights_need_training_mode() -> None:
    with pytest.raises(InputError, match="draws with a WeightedRandomSampler, but with mode='eval'"):
        opened(DataLoader(DATA, sampler=WeightedRandomSampler([1.0] * 10, 5)), mode="eval")
