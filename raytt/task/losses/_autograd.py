"""Losses whose derivatives are left to autograd."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from raytt.task.losses._base import Loss


class AutogradLoss(Loss):
    """A loss that gives its per-sample values for plain batches, twice differentiable in torch; the rest follows."""

    @abstractmethod
    def per_sample(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """ℓ per sample, ``(n, C), (n, ...) -> (n,)``."""

    def _flat(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        lead = outputs.shape[:-2]
        copies = int(torch.Size(lead).numel())
        repeated = targets.expand(copies, *targets.shape).reshape(copies * targets.shape[0], *targets.shape[1:])
        return outputs.reshape(-1, outputs.shape[-1]), repeated

    def _total(self, flat: Tensor, targets: Tensor) -> Tensor:
        return self.per_sample(flat, targets).sum()

    def _gradient(self, flat: Tensor, targets: Tensor) -> Tensor:
        gradient: Tensor = torch.func.grad(self._total)(flat, targets)
        return gradient

    def value(self, outputs: Tensor, targets: Tensor) -> Tensor:
        flat, repeated = self._flat(outputs, targets)
        return self.per_sample(flat, repeated).reshape(outputs.shape[:-1])

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
