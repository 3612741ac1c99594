"""Losses on outputs, each in a file of its own; those that a user may name are registered here.

A new loss is a subclass of `Loss` in a new file, one more entry below, and one more example in the contract tests.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from raytt.errors import InputError
from raytt.task.losses._base import Loss, check_outputs
from raytt.task.losses.cross_entropy import CrossEntropy, check_labels
from raytt.task.losses.custom import CustomLoss
from raytt.task.losses.sampled_cross_entropy import SampledCrossEntropy
from raytt.task.losses.squared_error import SquaredError
from raytt.task.registry import Registry

LOSSES: Registry[type[Loss]] = Registry("loss")
"""By name, each constructed without arguments."""
LOSSES.register("cross_entropy", CrossEntropy)
LOSSES.register("squared_error", SquaredError)


def as_loss(loss: str | Loss | Callable[[Tensor, Tensor], Tensor]) -> Loss:
    """The `Loss` meant by a registered name, a `Loss`, or a per-sample function.

    Raises:
        InputError: If it is none of these.
    """
    if isinstance(loss, Loss):
        return loss
    if callable(loss):
        return CustomLoss(function=loss)
    if not isinstance(loss, str):
        raise InputError(
            f"The loss is {loss!r}.",
            f"Give a name ({', '.join(LOSSES.names())}), a raytt.Loss, or a function giving per-sample losses.",
        )
    return LOSSES.get(loss)()


__all__ = [
    "LOSSES",
    "CrossEntropy",
    "CustomLoss",
    "Loss",
    "SampledCrossEntropy",
    "SquaredError",
    "as_loss",
    "check_labels",
    "check_outputs",
]
