"""A user's function as a loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from raytt.errors import InputError
from raytt.task.losses._autograd import AutogradLoss
from raytt.task.losses._base import check_outputs
from raytt.task.losses._layout import as_outputs_have


@dataclass(frozen=True, kw_only=True)
class CustomLoss(AutogradLoss):
    """A user's function ``(outputs, targets) -> loss``, differentiated by autograd.

    In training mode it may give one number for the batch (negatives within the batch, say) or any tensor of losses,
    whose mean is taken, for outputs and targets of any form. In eval mode it must give per-sample losses, ``(n, C),
    (n, ...) -> (n,)``, act on samples independently and be twice differentiable in torch.

    Floating targets are given in the precision of the outputs.
    """

    function: Callable[[Tensor, Tensor], Tensor]

    def per_sample(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.function(outputs, _alike(outputs, targets))

    def batch_value(self, outputs: Tensor, targets: Tensor) -> Tensor:
        value: Any = self.function(outputs, _alike(outputs, targets))
        if not isinstance(value, Tensor):
            raise InputError(
                f"The loss gave {type(value).__name__}, not a tensor.",
                "Return a tensor of one number for the batch, or of one value per sample.",
            )
        return value.mean()

    def identity(self) -> object:
        return self.function

    def check(self, outputs: Tensor, targets: Tensor) -> None:
        check_outputs(outputs)
        losses: Any = self.per_sample(outputs, targets)
        if not isinstance(losses, Tensor) or losses.shape != outputs.shape[:1]:
            shape = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
            raise InputError(
                f"The loss gave {shape} for outputs of shape {tuple(outputs.shape)}, but with mode='eval' must give "
                f"one value per sample: ({outputs.shape[0]},).",
                "Return per-sample losses, e.g. with reduction='none' and a sum over outputs, or use mode='train', "
                "which takes one number for the batch.",
            )


def _alike(outputs: Any, targets: Any) -> Any:
    both = isinstance(outputs, Tensor) and isinstance(targets, Tensor)
    return as_outputs_have(outputs, targets) if both and torch.is_floating_point(targets) else targets
