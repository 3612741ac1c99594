"""The size of a preconditioner that a reference run has met."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Preconditioner:
    """How large the reference's preconditioner D = √v + ε is, beside its shape that the rows hold.

    D₀ is the one by which coordinates are scaled, w₀ the pre-trained weights; sums are over all trainable weights.
    """

    second_moment: float
    """V_ref = Σ v D₀ / D², above 0."""
    eps_share: float = 0.0
    """e = Σ D₀ (ε / D) / Σ D₀ ∈ [0, 1]."""
    inverse: float | None = None
    """κ = Σ w₀² (D₀ / D) / Σ w₀² D₀, by which D⁻¹ is replaced where a weight decay is preconditioned: the least-squares
    fit of κ w₀ to D⁻¹ w₀ in the scaled coordinates. None: not known, such decay cannot be simulated."""
    weights: float = 0.0
    """Σ w₀² D₀ / D²: what a preconditioned weight decay of 1 adds to second moments at the pre-trained weights."""
