"""A torch ``DataLoader``: its data set, its collation and, as far as a sampler is known, what it draws.

==============================================  ===================================================================
sampler                                         here
==============================================  ===================================================================
none, sequential, random                        every sample once per epoch, in raytt's own random order
random on a subset (SubsetRandomSampler)        the subset, likewise
weighted, or random with replacement            each position of a batch is drawn anew by the weights when it is read
==============================================  ===================================================================

Its batch size, workers and ``drop_last`` play no part: candidates have batch sizes of their own, and no batch is short.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import (
    DataLoader,
    Dataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    WeightedRandomSampler,
    default_collate,
)

from raytt.errors import InputError
from raytt.task.task import Task
from raytt.training.source import Opener
from raytt.training.stream_dataset import Head


class Drawn(Dataset[Any]):
    """Items drawn at random, with replacement, whenever one is read; from torch's global generator.

    Args:
        dataset: What is drawn from.
        weights: Of its samples, not negative, shape (N,).
        length: Samples per epoch.
    """

    def __init__(self, dataset: Any, weights: Tensor, length: int) -> None:
        self._dataset, self._length = dataset, length
        self._reached = torch.cumsum(weights.to(torch.float64), dim=0)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, position: int) -> Any:
        at = torch.rand((), dtype=torch.float64) * self._reached[-1]
        chosen = int(torch.searchsorted(self._reached, at, right=True))
        return self._dataset[min(chosen, len(self._reached) - 1)]


class Collated(Dataset[Any]):
    """A data set with its loader's collation."""

    def __init__(self, dataset: Any, collate: Callable[[list[Any]], Any]) -> None:
        self._dataset, self._collate = dataset, collate
        self.notes: tuple[str, ...] = getattr(dataset, "notes", ())

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, position: int) -> Any:
        return self._dataset[position]

    def batch(self, index: Sequence[int] | NDArray[np.int64]) -> Any:
        """The samples at ``index`` as the loader collates them."""
        return self._collate([self._dataset[int(i)] for i in index])


def open_loader(loader: Any, task: Task, opened: Callable[[Any, Task], Dataset[Any]]) -> Dataset[Any]:
    """What a loader reads, as a map-style data set.

    Args:
        loader: The ``DataLoader``.
        task: For the form of its data set.
        opened: Opens that.

    Raises:
        InputError: If it has a sampler of another kind, or draws with weights where items are read once.
    """
    dataset = _sampled(loader, opened(loader.dataset, task), task)
    return dataset if loader.collate_fn in (default_collate, None) else Collated(dataset, loader.collate_fn)


def _sampled(loader: Any, dataset: Any, task: Task) -> Any:
    if isinstance(dataset, Head):
        # A stream has no sampler.
        return dataset
    if loader.batch_sampler is None:
        raise _unknown("batch_size=None, so that its data set makes batches itself")
    sampler = loader.sampler
    kind = type(sampler)
    if kind is SequentialSampler or (kind is RandomSampler and not sampler.replacement):
        if kind is RandomSampler and len(sampler) != len(dataset):
            raise _unknown(f"a RandomSampler of {len(sampler)} of {len(dataset)} samples")
        if type(loader.batch_sampler).__name__ != "BatchSampler":
            raise _unknown(f"batches from {type(loader.batch_sampler).__name__}")
        return dataset
    if kind is SubsetRandomSampler:
        return Subset(dataset, list(sampler.indices))
    if kind in (RandomSampler, WeightedRandomSampler) and sampler.replacement:
        if task.mode == "eval":
            raise InputError(
                f"The DataLoader draws with a {kind.__name__}, but with mode='eval' every sample is met once an epoch.",
                "Use mode='train', in which items are drawn anew in every step.",
            )
        weights = sampler.weights if kind is WeightedRandomSampler else torch.ones(len(dataset))
        return Drawn(dataset, torch.as_tensor(weights), len(sampler))
    raise _unknown(f"a {kind.__name__}")


def _unknown(what: str) -> InputError:
    return InputError(
        f"The DataLoader has {what}, which raytt cannot follow.",
        "Give its data set as Task.data and its collate_fn as Task.collate; samples are then met once per epoch.",
    )


def loader_of(opened: Callable[[Any, Task], Dataset[Any]]) -> Opener:
    """The opener of loaders.

    Args:
        opened: Opens the data set in a loader, whatever its form.
    """
    return Opener(
        form="a DataLoader",
        accepts=lambda source, task: isinstance(source, DataLoader),
        open=lambda source, task: open_loader(source, task, opened),
    )
