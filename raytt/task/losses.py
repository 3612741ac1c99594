"""Losses on outputs: value, residual and curvature per sample, for any leading batch dimensions.

Notation (see METHOD: f outputs, y targets, C network outputs, n samples; ``...`` are candidates and sample paths):

* value      ℓ(f, y)            ``(..., n)``
* residual   g = ∂ℓ/∂f          ``(..., n, C)``
* curvature  H = ∂²ℓ/∂f∂f       applied to a direction v: ``(..., n, C)``

The reported training loss is the mean of ℓ over samples.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from raytt.errors import InputError


class Loss(ABC):
    """A per-sample loss with its first two derivatives in the outputs."""

    @abstractmethod
    def value(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Per-sample losses, ``(..., n, C), (n, ...) -> (..., n)``."""

    @abstractmethod
    def residual(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """∂ℓ/∂f per sample, ``(..., n, C), (n, ...) -> (..., n, C)``."""

    @abstractmethod
    def curvature(self, outputs: Tensor, targets: Tensor, direction: Tensor) -> Tensor:
        """H v per sample, ``(..., n, C), (n, ...), (..., n, C) -> (..., n, C)``."""

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor | None:
        """Whether each sample is classified correctly, ``(..., n)`` bool, or None where accuracy means nothing."""
        return None

    @abstractmethod
    def check(self, outputs: Tensor, targets: Tensor) -> None:
        """Raise `InputError` unless ``outputs (n, C)`` and ``targets`` fit this loss."""


@dataclass(frozen=True, kw_only=True)
class CrossEntropy(Loss):
    """Softmax cross-entropy with label smoothing, as ``torch.nn.CrossEntropyLoss``.

    With p = softmax(f) and smoothed target q = (1 − s)·onehot(y) + s/C:
    ℓ = −Σ_c q_c log p_c,  g = p − q,  H = diag(p) − p pᵀ.
    """

    label_smoothing: float = 0.0
    """Smoothing s in [0, 1)."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.label_smoothing < 1.0:
            raise InputError(
                f"label_smoothing is {self.label_smoothing}, outside [0, 1).",
                "Give a value in [0, 1), usually 0 or 0.1.",
            )

    def _smoothed(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """q, shape ``(n, C)``."""
        spread = self.label_smoothing / outputs.shape[-1]
        smoothed = outputs.new_full((*targets.shape, outputs.shape[-1]), spread)
        return smoothed.scatter_(-1, targets.unsqueeze(-1), 1.0 - self.label_smoothing + spread)

    def value(self, outputs: Tensor, targets: Tensor) -> Tensor:
        shifted = _shifted(outputs)
        log_total = shifted.exp().sum(dim=-1).log()
        index = targets.expand(outputs.shape[:-1]).unsqueeze(-1)
        nll = log_total - shifted.gather(-1, index).squeeze(-1)
        if self.label_smoothing == 0.0:
            return nll
        uniform = log_total - shifted.mean(dim=-1)
        return (1.0 - self.label_smoothing) * nll + self.label_smoothing * uniform

    def residual(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return _softmax(outputs) - self._smoothed(outputs, targets)

    def curvature(self, outputs: Tensor, targets: Tensor, direction: Tensor) -> Tensor:
        p = _softmax(outputs)
        return p * (direction - (p * direction).sum(dim=-1, keepdim=True))

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs.argmax(dim=-1) == targets

    def check(self, outputs: Tensor, targets: Tensor) -> None:
        num_outputs = check_outputs(outputs)
        if targets.is_floating_point() or targets.ndim != 1:
            raise InputError(
                f"Cross-entropy needs integer class labels of shape (n,), but the targets are {targets.dtype} of shape "
                f"{tuple(targets.shape)}.",
                "Return class indices from the data set, or use loss='squared_error' for real-valued targets.",
            )
        check_labels(targets, num_outputs)


# Written out because torch's softmax over a short last dimension is slow on CPUs: measured 18 ns per value for C = 10
# against 3 ns here, and solvers spend as long in it as in matrix products.
def _shifted(outputs: Tensor) -> Tensor:
    """Outputs less the largest of each sample, so that the exponentials neither overflow nor all vanish."""
    return outputs - outputs.detach().amax(dim=-1, keepdim=True)


def _softmax(outputs: Tensor) -> Tensor:
    weights = _shifted(outputs).exp()
    return weights / weights.sum(dim=-1, keepdim=True)


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


def check_labels(labels: Tensor, num_classes: int) -> None:
    """Raise `InputError` unless all labels lie in 0…C − 1."""
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= num_classes:
        raise InputError(
            f"Labels run from {low} to {high}, but the network has {num_classes} outputs: labels must lie in "
            f"0…{num_classes - 1}.",
            "Re-number the labels from 0, or give the network as many outputs as there are classes.",
        )


def as_loss(loss: str | Loss | Callable[[Tensor, Tensor], Tensor]) -> Loss:
    """The `Loss` meant by a name (``"cross_entropy"``, ``"squared_error"``), a `Loss`, or a per-sample function."""
    if isinstance(loss, Loss):
        return loss
    if loss == "cross_entropy":
        return CrossEntropy()
    if loss == "squared_error":
        return SquaredError()
    if callable(loss):
        return CustomLoss(function=loss)
    raise InputError(
        f"Unknown loss {loss!r}.",
        "Use 'cross_entropy', 'squared_error', a raytt Loss, or a function giving per-sample losses.",
    )
