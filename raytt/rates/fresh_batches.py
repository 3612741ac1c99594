"""Minibatches as a training loop meets them: read afresh each time, so that augmentation is drawn anew."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from raytt.errors import InputError
from raytt.task.candidate import Candidate
from raytt.task.minibatches import check_batch_size, iterate_steps, permutation, weighted_positions
from raytt.task.task import Task
from raytt.training.datasets import open_dataset
from raytt.training.objective import Objective, batch_to_device


class FreshBatches:
    """The training data of a task, collated on demand and never kept.

    Args:
        task: Whose training data is read.
        objective: Of the task.
        device: Where batches shall lie.

    Raises:
        InputError: If the data cannot be read.
    """

    def __init__(self, task: Task, objective: Objective, *, device: str | torch.device = "cpu") -> None:
        self._objective = objective
        self._dataset = open_dataset(task.data, task)
        self.device = device
        self._last_batch = task.last_batch
        self._weights = sample_weights_of(task, len(self))

    def __len__(self) -> int:
        return len(self._dataset)  # type: ignore[arg-type]

    def read(self, positions: Sequence[int] | NDArray[np.int64]) -> Any:
        """The minibatch of the samples at ``positions``, on the device; augmentation uses the global generators."""
        return batch_to_device(self._objective.read(self._dataset, positions, training=True), self.device)

    def steps(self, candidate: Candidate, seed: int, *, stop: int | None = None) -> Iterator[list[NDArray[np.int64]]]:
        """Positions of the minibatches of each step of a training run, see `iterate_steps`."""
        return iterate_steps(
            len(self),
            candidate.batch_size,
            seed,
            accumulation_steps=candidate.accumulation_steps,
            last_batch=self._last_batch,
            weights=self._weights,
            stop=stop,
        )

    def draw(self, number: int, *key: int | str) -> NDArray[np.int64]:
        """Positions of ``number`` samples for a measurement, a function of ``key`` alone; shape ``(number,)``.

        Different ones (`drawn_positions`), or with sample weights independent ones.
        """
        if self._weights is None:
            return drawn_positions(len(self), number, *key)
        return weighted_positions(self._weights, number, "raytt rates", *key)


def sample_weights_of(task: Task, num_samples: int) -> NDArray[np.float64] | None:
    """The weights of a task's samples, shape ``(N,)``; None where all are drawn alike.

    Raises:
        InputError: If they are not one per sample, or some cannot be weights.
    """
    if task.sample_weights is None:
        return None
    found = np.asarray(task.sample_weights, dtype=np.float64)
    if found.shape != (num_samples,):
        raise InputError(
            f"Task.sample_weights has shape {found.shape}, but there are {num_samples} training samples.",
            "Give one weight per sample, in the order of the data.",
        )
    if not bool(np.isfinite(found).all()) or found.min() < 0.0 or found.sum() <= 0.0:
        raise InputError(
            "Task.sample_weights holds a number that is negative or not finite, or zeros alone.",
            "Give weights of at least 0, some of them above.",
        )
    return found


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
