"""Minibatches as a training loop meets them: read afresh each time, so that augmentation is drawn anew."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raytt.task.minibatches import check_batch_size, permutation
from raytt.task.task import Inputs, Task
from raytt.training.datasets import load_batch, open_dataset, to_device


class FreshBatches:
    """The training data of a task, collated on demand and never kept.

    Args:
        task: Whose training data is read.
        device: Where batches shall lie.

    Raises:
        InputError: If the data cannot be read.
    """

    def __init__(self, task: Task, *, device: str | torch.device = "cpu") -> None:
        self._task = task
        self._dataset = open_dataset(task.data, task)
        self.device = device

    def __len__(self) -> int:
        return len(self._dataset)  # type: ignore[arg-type]

    def read(self, positions: Sequence[int] | NDArray[np.int64]) -> tuple[Inputs, Tensor]:
        """Inputs and targets at ``positions``, on the device. Augmentation draws from the global generators."""
        inputs, targets = load_batch(self._task, self._dataset, positions)
        return to_device(inputs, self.device), targets.to(self.device)


def drawn_positions(num_samples: int, batch_size: int, *key: int | str) -> NDArray[np.int64]:
    """B different positions in 0…N−1, uniformly drawn, a function of ``key`` alone; shape ``(B,)``.

    Draws with different keys are independent, so that the mean of the inner products of two such minibatches' mean
    gradients is the squared norm of the gradient over all N samples, without bias. (Two minibatches of one epoch are
    not: they share no sample, which lowers it by the variance of the samples' gradients over N.)

    Raises:
        InputError: If B is not in 1…N.
    """
    check_batch_size(num_samples, batch_size)
    return permutation(num_samples, "raytt rates", *key)[:batch_size]
