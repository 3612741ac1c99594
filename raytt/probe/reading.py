"""Micro-batches from a task's data: which samples they hold, and their inputs and targets on the host."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raytt.errors import InputError
from raytt.task.task import Inputs, Task
from raytt.training.datasets import load_batch, open_dataset

Batch = tuple[Inputs, Tensor]
"""Inputs and targets."""


class Cut(NamedTuple):
    """A micro-batch: samples ``start`` to ``stop`` − 1 of a call, repeated until they are ``size``."""

    start: int
    stop: int
    size: int

    @classmethod
    def at(cls, start: int, count: int, size: int, block_size: int) -> Cut:
        """The one that begins at ``start`` of ``count`` samples; none reaches across the end of a block."""
        return cls(start, min(start + size, (start // block_size + 1) * block_size, count), size)


class Reader:
    """Opens the data of each split when it is first needed.

    Args:
        task: What would be trained.
        sources: By split, ``task.data`` and ``task.validation``, or the same opened.
    """

    def __init__(self, task: Task, sources: dict[str, Any]) -> None:
        self._task = task
        self._sources = sources
        self._datasets: dict[str, Any] = {}

    def read(self, split: str, positions: NDArray[np.int64], cut: Cut) -> Batch:
        """Inputs of ``cut.size`` samples, and the targets of ``cut.stop − cut.start``, float32 or int64.

        Raises:
            InputError: If there is no such data, or it cannot be used.
        """
        if split not in self._datasets:
            source = self._sources.get(split)
            if source is None:
                raise InputError(f"Task {self._task.name!r} has no {split} data.", "Give it to Task.")
            self._datasets[split] = open_dataset(source, self._task)
        block = positions[cut.start : cut.stop]
        inputs, targets = load_batch(self._task, self._datasets[split], np.resize(block, cut.size))
        labels = targets[: len(block)]
        return inputs, labels.to(torch.float32) if labels.is_floating_point() else labels.to(torch.int64)
