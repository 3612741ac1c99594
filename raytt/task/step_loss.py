"""Losses of a batch that say how those of several minibatches make the loss of one step (gradient accumulation)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn


@runtime_checkable
class StepLoss(Protocol):
    """A `Task.batch_loss` with a say in gradient accumulation.

    Without ``parts`` the loss of a step is the mean of those of its A minibatches. A mean over tokens is another where
    minibatches hold different numbers n_a of tokens that count: the sum of the parts (n_a / Σ n) · loss_a.
    """

    def __call__(self, model: nn.Module, batch: Any) -> Tensor:
        """The mean loss of one minibatch, one number with its graph."""
        ...

    def parts(self, model: nn.Module, batches: Sequence[Any]) -> Iterator[Tensor]:
        """Of each of the A minibatches of a step, in order, what it adds to the step's loss: one number with its graph.

        Each is differentiated before the next is asked for. Of a single minibatch it is its loss.
        """
        ...
