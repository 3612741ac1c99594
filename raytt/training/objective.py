"""The number that training lowers: read from the data, computed on a minibatch, measured on held-out samples.

A task states it in one of two ways.

* Outputs and a loss: a batch is ``(inputs, targets)``, its loss the mean of per-sample losses, or the one number that
  the loss function gives for the batch (a mean over tokens, a weighted mean, negatives within the batch).
* `Task.batch_loss`: a batch is whatever ``collate`` makes of the items, and ``batch_loss(model, batch)`` its loss. No
  outputs, no targets, no per-sample losses are asked for.

Training in the user's own mode needs no more than this number and its gradient.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from raytt.errors import InputError
from raytt.task.losses import as_loss
from raytt.task.nest import map_tensors
from raytt.task.step_loss import StepLoss
from raytt.task.task import Task
from raytt.training.datasets import collated, load_minibatch
from raytt.training.loss_sign import lowest_value
from raytt.training.model import PreparedModel

Positions = Sequence[int] | NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a batch of held-out samples gave."""

    count: int
    """Samples."""
    loss: float
    """Sum of their losses: the batch's loss times their number where it has no per-sample losses."""
    correct: float | None
    """How many were classified correctly: the share of correct answers in the batch times their number (of tokens, one
    answer each, those not ignored count); None where that means nothing."""


class Objective:
    """The loss of a task on minibatches.

    Args:
        task: Its loss, collation and forward pass.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._dtype: torch.dtype | None = None if task.precision == "float32" else getattr(torch, task.precision)
        self._loss = None if task.batch_loss is not None else as_loss(task.loss)

    def read(self, dataset: Dataset[Any], positions: Positions, *, training: bool = False) -> Any:
        """The minibatch of the samples at ``positions``; ``training``: mixed, where the task mixes.

        Raises:
            InputError: If items cannot be collated or mixed, or hold what the loss refuses.
        """
        if self._task.batch_loss is not None:
            return collated(self._task, dataset, positions)
        batch = load_minibatch(self._task, dataset, positions)
        if self._task.mix is None or not training:
            return batch
        mixed: Any = self._task.mix(*batch)
        if not isinstance(mixed, tuple | list) or len(mixed) != 2:
            raise InputError(
                f"Task.mix of {self._task.name!r} gave {type(mixed).__name__}, not a pair.",
                "Return mixed inputs and mixed targets, as torchvision.transforms.v2.MixUp does.",
            )
        return tuple(mixed)

    @property
    def scales_loss(self) -> bool:
        """Whether gradients may vanish unless the loss is scaled up, as with 'float16'."""
        return self._dtype is torch.float16

    def _autocast(self, model: PreparedModel) -> AbstractContextManager[Any]:
        device = next(iter(model.trainable.values())).device.type
        return torch.autocast(device, dtype=self._dtype, enabled=self._dtype is not None)

    def _outputs(self, model: PreparedModel, inputs: Any) -> Tensor:
        outputs = model.forward(model.module, inputs)
        return outputs.float() if isinstance(outputs, Tensor) and self._dtype is not None else outputs

    def value(self, model: PreparedModel, batch: Any) -> Tensor:
        """The loss of a minibatch, one number with its graph, in the task's precision.

        Raises:
            InputError: If ``batch_loss`` gives something else.
        """
        with self._autocast(model):
            if self._loss is not None:
                inputs, targets = batch
                return self._loss.batch_value(self._outputs(model, inputs), targets)
            assert self._task.batch_loss is not None
            value = self._task.batch_loss(model.module, batch)
        return self._one_number(value)

    def parts(self, model: PreparedModel, batches: Iterable[Any], times: int) -> Iterator[Tensor]:
        """What each of the A minibatches of a step adds to the step's loss, one number with its graph each.

        The step's loss is the mean of theirs, unless the task's loss says otherwise (`StepLoss`); then all of them are
        read before the first is passed.

        Args:
            model: What is trained.
            batches: A minibatches.
            times: A.

        Raises:
            InputError: If ``batch_loss`` gives something else.
        """
        own = self._task.batch_loss
        if times == 1 or not isinstance(own, StepLoss):
            for batch in batches:
                yield self.value(model, batch) / times
            return
        found = own.parts(model.module, list(batches))
        for _ in range(times):
            # Not kept up while the caller differentiates.
            with self._autocast(model):
                value = next(found, None)
            yield self._one_number(value)

    def _one_number(self, value: Any) -> Tensor:
        if not isinstance(value, Tensor) or value.numel() != 1:
            found = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"type {type(value).__name__}"
            raise InputError(
                f"Task.batch_loss of {self._task.name!r} gave something of {found}, not one number.",
                "Return the mean loss of the batch as a tensor of one element, such as model(**batch).loss.",
            )
        return value.reshape(())

    @torch.no_grad()
    def lowest(self, model: PreparedModel, batch: Any) -> float:
        """The lowest loss of a sample that was found among random outputs like those of the batch; +inf if unknown."""
        if self._loss is None:
            return float("inf")
        inputs, targets = batch
        return lowest_value(self._loss, model.forward(model.module, inputs), targets)

    @torch.no_grad()
    def measure(self, model: PreparedModel, batch: Any, count: int) -> Measured:
        """Loss and correct answers of ``count`` samples, in the mode in which the network is."""
        if self._loss is None:
            return Measured(count=count, loss=count * float(self.value(model, batch)), correct=None)
        inputs, targets = batch
        with self._autocast(model):
            outputs = self._outputs(model, inputs)
            loss = self._loss.batch_value(outputs, targets)
            accuracy = self._loss.batch_accuracy(outputs, targets)
        return Measured(
            count=count,
            loss=float(loss.to(torch.float64)) * count,
            correct=None if accuracy is None else float(accuracy) * count,
        )


def batch_to_device(batch: Any, device: str | torch.device) -> Any:
    """All tensors of a nest on ``device``; whatever else it holds stays.

    A batch with a ``to`` of its own (such as a packed sequence) is asked for it.
    """
    if hasattr(batch, "to") and not isinstance(batch, Tensor | Mapping):
        return batch.to(device)
    return map_tensors(lambda tensor: tensor.to(device), batch)
