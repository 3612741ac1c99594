"""The linearized network as the solvers see it: outputs and Jacobian rows at one tangent point.

Notation: N samples, C outputs, r coordinates (the sketch dimension R, or fewer after an exact rotation onto the span of
all Jacobian rows). The network is w ↦ f + J·(w − w_s); displacements live in the r coordinates, and the pre-trained
weights w₀ themselves, which weight decay shrinks, are kept as one exact extra direction: ``radial`` = J w₀.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Samples:
    """Outputs and Jacobian rows of some samples at one tangent point."""

    outputs: Tensor
    """f, shape (N, C)."""
    jacobian: Tensor
    """Rows ∂f/∂w in the r coordinates, shape (N, C, r)."""
    radial: Tensor
    """J w₀ (unsketched), shape (N, C)."""
    targets: Tensor
    """y, shape (N,) int64 or (N, C) floating."""
    updates: Tensor | None = None
    """What a residual is pulled back with where an optimizer is preconditioned (`raytt.dynamics.steppers`), shape of
    ``jacobian``; None: ``jacobian`` itself."""

    def __post_init__(self) -> None:
        n, c = self.outputs.shape
        if self.jacobian.shape[:2] != (n, c) or self.radial.shape != (n, c) or self.targets.shape[0] != n:
            raise ValueError(
                f"shapes disagree: outputs {tuple(self.outputs.shape)}, jacobian {tuple(self.jacobian.shape)}, "
                f"radial {tuple(self.radial.shape)}, targets {tuple(self.targets.shape)}"
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class Tangent:
    """The network linearized at w_s."""

    train: Samples
    position: Tensor
    """w̃_s = Sᵀ(w_s − w₀), shape (r,); zero at the pre-trained weights."""
    validation: Samples | None = None
    """Samples that are simulated along without entering any gradient."""
