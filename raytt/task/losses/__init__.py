"""Losses on outputs, each in a file of its own; those that a user may name are registered here.

A new loss is a subclass of `Loss` in a new file, one more entry below, and one more example in the contract tests.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from raytt.errors import InputError
from raytt.task.losses._base import Loss, check_outputs
from raytt.task.losses.class_criterion import ClassCriterion
from raytt.task.losses.criterion import Criterion
from raytt.task.losses.cross_entropy import CrossEntropy, check_labels
from raytt.task.losses.custom import CustomLoss
from raytt.task.losses.focal import Focal
from raytt.task.losses.real_criterion import (
    AbsoluteError,
    BinaryCriterion,
    Huber,
    KullbackLeibler,
    MeanSquaredError,
    RealCriterion,
    SmoothL1,
)
from raytt.task.losses.sampled_cross_entropy import SampledCrossEntropy
from raytt.task.losses.squared_error import SquaredError
from raytt.task.registry import Registry

LOSSES: Registry[type[Loss]] = Registry("loss")
"""By name, each constructed without arguments."""
LOSSES.register("cross_entropy", CrossEntropy)
LOSSES.register("squared_error", SquaredError)

LOSSES.register("binary_cross_entropy", BinaryCriterion)
LOSSES.register("mean_squared_error", MeanSquaredError)
LOSSES.register("l1", AbsoluteError)
LOSSES.register("smooth_l1", SmoothL1)
LOSSES.register("huber", Huber)
LOSSES.register("focal", Focal)

CRITERIA: dict[type[nn.Module], type[Criterion]] = {
    nn.CrossEntropyLoss: ClassCriterion,
    nn.NLLLoss: ClassCriterion,
    nn.BCEWithLogitsLoss: BinaryCriterion,
    nn.BCELoss: BinaryCriterion,
    nn.MSELoss: MeanSquaredError,
    nn.L1Loss: AbsoluteError,
    nn.SmoothL1Loss: SmoothL1,
    nn.HuberLoss: Huber,
    nn.KLDivLoss: KullbackLeibler,
}
"""What is known of loss modules of torch, and of their subclasses; any other module is a `Criterion`."""


def as_loss(loss: str | Loss | nn.Module | Callable[[Tensor, Tensor], Tensor]) -> Loss:
    """The `Loss` meant by a registered name, a `Loss`, a loss module of torch, or a function.

    Raises:
        InputError: If it is none of these.
    """
    if isinstance(loss, Loss):
        return loss
    if isinstance(loss, nn.Module):
        kind = next((CRITERIA[base] for base in type(loss).__mro__ if base in CRITERIA), Criterion)
        return kind(module=loss)
    if isinstance(loss, type):
        raise InputError(f"The loss is the class {loss.__name__}.", f"Give an instance: loss={loss.__name__}().")
    if callable(loss):
        return CustomLoss(function=loss)
    if not isinstance(loss, str):
        raise InputError(
            f"The loss is {loss!r}.",
            f"Give a name ({', '.join(LOSSES.names())}), a raytt.Loss, a loss of torch.nn, or a function of outputs "
            "and targets.",
        )
    return LOSSES.get(loss)()


__all__ = [
    "CRITERIA",
    "LOSSES",
    "AbsoluteError",
    "BinaryCriterion",
    "ClassCriterion",
    "Criterion",
    "CrossEntropy",
    "CustomLoss",
    "Focal",
    "Huber",
    "KullbackLeibler",
    "Loss",
    "MeanSquaredError",
    "RealCriterion",
    "SampledCrossEntropy",
    "SmoothL1",
    "SquaredError",
    "as_loss",
    "check_labels",
    "check_outputs",
]
