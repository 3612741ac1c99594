"""The contract of a loss on outputs: value, residual and curvature per sample, for any leading batch dimensions.

Notation (f outputs, y targets, C network outputs, n samples; ``...`` are candidates and sample paths):

* value      ℓ(f, y)            ``(..., n)``
* residual   g = ∂ℓ/∂f          ``(..., n, C)``
* curvature  H = ∂²ℓ/∂f∂f       applied to a direction v: ``(..., n, C)``

The reported training loss is the mean of ℓ over samples.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from raytt.errors import InputError


class Loss(ABC):
    """A per-sample loss with its first two derivatives in the outputs.

    A loss must give `value`, `residual`, `curvature` and `check`. The other methods say what else is known of it; their
    defaults hold for any loss.
    """

    @abstractmethod
    def value(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Per-sample losses, ``(..., n, C), (n, ...) -> (..., n)``."""

    @abstractmethod
    def residual(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """∂ℓ/∂f per sample, ``(..., n, C), (n, ...) -> (..., n, C)``."""

    @abstractmethod
    def curvature(self, outputs: Tensor, targets: Tensor, direction: Tensor) -> Tensor:
        """H v per sample, ``(..., n, C), (n, ...), (..., n, C) -> (..., n, C)``."""

    @abstractmethod
    def check(self, outputs: Tensor, targets: Tensor) -> None:
        """Raise `InputError` unless ``outputs (n, C)`` and ``targets`` fit this loss."""

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor | None:
        """Whether each sample is classified correctly, ``(..., n)`` bool, or None where accuracy means nothing."""
        return None

    def convert(self, targets: Tensor) -> Tensor:
        """Targets as read from the data, in the form that the other methods take; n rows stay n rows.

        Only what has one meaning may be converted. Converting twice must be the same as once.

        Raises:
            InputError: If the targets of any network would not fit this loss.
        """
        return targets

    def batch_value(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of a minibatch in training mode, one number: by default the mean of `value`.

        Outputs and targets may have any shapes that the loss knows; samples may depend on each other.
        """
        return self.value(outputs, targets).mean()

    def batch_accuracy(self, outputs: Tensor, targets: Tensor) -> Tensor | None:
        """The share of correct answers in a minibatch, one number, or None where accuracy means nothing."""
        correct = self.correct(outputs, targets)
        return None if correct is None else correct.to(torch.float64).mean()

    def convert_batch(self, targets: Tensor) -> Tensor:
        """`convert` for what `batch_value` takes; in training mode targets need not have a row per sample."""
        return self.convert(targets)

    def floor(self, num_outputs: int) -> float:
        """A value below which ℓ cannot fall for any outputs and targets; −∞ where none is known.

        Args:
            num_outputs: C.
        """
        return -math.inf

    def sampled(self) -> Loss | None:
        """The estimate of this loss from a few outputs of each sample, or None where every output must be computed.

        Its targets are weights, ``(n, k)``: the number of outputs for which each of the k stands, the sample's own
        class first (`raytt.probe.outputs`).
        """
        return None

    def identity(self) -> object:
        """What tells this loss from others in a run's fingerprint: a function's source, else the text of the object."""
        return self


def check_outputs(outputs: Tensor) -> int:
    """C of finite outputs of shape (n, C).

    Raises:
        InputError: If they are not.
    """
    if outputs.ndim != 2:
        raise InputError(
            f"The network's outputs have shape {tuple(outputs.shape)}; raytt needs (samples, outputs).",
            "Give Task a `forward` that flattens them to two dimensions.",
        )
    if not bool(torch.isfinite(outputs).all()):
        raise InputError(
            "The network's outputs hold NaN or infinite values at the pre-trained weights.",
            "Check the weights and the inputs for NaN before fine-tuning.",
        )
    return int(outputs.shape[1])
