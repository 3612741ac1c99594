"""A user's function as a loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from raytt.errors import InputError
from raytt.task.losses._base import Loss, check_outputs


@dataclass(frozen=True, kw_only=True)
class CustomLoss(Loss):
    """A user's function ``(outputs (n, C), targets (n, ...)) -> per-sample losses (n,)``, differentiated by autograd.

    The function must act on samples independently and be twice differentiable in torch.
    """

    function: Callable[[Tensor, Tensor], Tensor]

    def _flat(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        lead = outputs.shape[:-2]
        copies = int(torch.Size(lead).numel())
        repeated = targets.expand(copies, *targets.shape).reshape(copies * targets.shape[0], *targets.shape[1:])
        return outputs.reshape(-1, outputs.shape[-1]), repeated

    def _total(self, flat: Tensor, targets: Tensor) -> Tensor:
        return self.function(flat, targets).sum()

    def _gradient(self, flat: Tensor, targets: Tensor) -> Tensor:
        gradient: Tensor = torch.func.grad(self._total)(flat, targets)
        return gradient

    def value(self, outputs: Tensor, targets: Tensor) -> Tensor:
        flat, repeated = self._flat(outputs, targets)
        return self.function(flat, repeated).reshape(outputs.shape[:-1])

    def residual(self, outputs: Tensor, targets: Tensor) -> Tensor:
        flat, repeated = self._flat(outputs, targets)
        return self._gradient(flat, repeated).reshape(outputs.shape)

    def curvature(self, outputs: Tensor, targets: Tensor, direction: Tensor) -> Tensor:
        flat, repeated = self._flat(outputs, targets)

        def gradient(f: Tensor) -> Tensor:
            return self._gradient(f, repeated)

        # H is symmetric: the product from the left, which reverse mode gives, is the product from the right.
        _, product = torch.func.vjp(gradient, flat)  # type: ignore[misc]
        applied: tuple[Tensor] = product(direction.reshape(flat.shape).contiguous())
        return applied[0].reshape(outputs.shape)

    def identity(self) -> object:
        return self.function

    def check(self, outputs: Tensor, targets: Tensor) -> None:
        check_outputs(outputs)
        losses: Any = self.function(outputs, targets)
        if not isinstance(losses, Tensor) or losses.shape != outputs.shape[:1]:
            shape = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
            raise InputError(
                f"The loss gave {shape} for outputs of shape {tuple(outputs.shape)}, but must give one value per "
                f"sample: ({outputs.shape[0]},).",
                "Return per-sample losses, e.g. with reduction='none' and a sum over outputs.",
            )
