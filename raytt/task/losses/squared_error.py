"""Squared error, for real-valued targets."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from raytt.errors import InputError
from raytt.task.losses._base import Loss, check_outputs


@dataclass(frozen=True, kw_only=True)
class SquaredError(Loss):
    """ℓ = ½‖f − y‖², so that g = f − y and H = I. Note the ½: ``torch.nn.MSELoss`` is 2/C times this."""

    def _as_outputs(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return targets.to(outputs.dtype).reshape(targets.shape[0], -1)

    def value(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return 0.5 * (outputs - self._as_outputs(outputs, targets)).square().sum(dim=-1)

    def residual(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs - self._as_outputs(outputs, targets)

    def curvature(self, outputs: Tensor, targets: Tensor, direction: Tensor) -> Tensor:
        return direction

    def floor(self, num_outputs: int) -> float:
        return 0.0

    def check(self, outputs: Tensor, targets: Tensor) -> None:
        num_outputs = check_outputs(outputs)
        width = targets.reshape(targets.shape[0], -1).shape[1]
        if width != num_outputs:
            raise InputError(
                f"Squared error needs targets as wide as the outputs, but targets of shape {tuple(targets.shape)} have "
                f"{width} values per sample and the network has {num_outputs} outputs.",
                "Give one target value per output.",
            )
        if not bool(torch.isfinite(targets.to(torch.float64)).all()):
            raise InputError("The targets hold NaN or infinite values.", "Clean or drop those samples.")
