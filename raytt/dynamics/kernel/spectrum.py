"""Spectrum of the Gram matrix as seen by the residual: which directions are learned, and how fast.

Notation: Θ = Z Zᵀ (NC × NC), eigenpairs (κ_k, u_k) of Θ/N, residual g₀ ∈ R^{NC} (g of all samples, stacked), c_k =
(u_kᵀ g₀)².

Under the continuous flow with squared loss the part of the residual along u_k decays as exp(−η κ_k t) (Zancato et al.
2020, arXiv 2008.12478, §3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Spectrum:
    """Eigenvalues of Θ/N and the residual's squared projections."""

    eigenvalues: Floats
    """κ_k > 0, falling, shape (K,), K ≤ NC the numerical rank; units of outputs² per weight²."""
    projections: Floats
    """c_k = (u_kᵀ g₀)² ≥ 0, shape (K,)."""
    remainder: float
    """‖g₀‖² − Σ c_k ≥ 0: what no weight can change."""
    num_samples: int
    """N."""
    num_outputs: int
    """C."""

    def __post_init__(self) -> None:
        if self.eigenvalues.ndim != 1 or self.eigenvalues.shape != self.projections.shape:
            raise ValueError(f"eigenvalues {self.eigenvalues.shape}, projections {self.projections.shape}")

    @property
    def mean_eigenvalue(self) -> float:
        """tr(Θ/N) / (NC), zeros included."""
        return float(self.eigenvalues.sum()) / (self.num_samples * self.num_outputs)

    @property
    def effective_rank(self) -> float:
        """Participation ratio (Σκ)² / Σκ², between 1 and K; 0 for an all-zero Θ."""
        squares = float(np.square(self.eigenvalues).sum())
        return float(self.eigenvalues.sum()) ** 2 / squares if squares > 0 else 0.0

    @property
    def alignment(self) -> float:
        """(Σ κ_k c_k / ‖g₀‖²) / mean eigenvalue: how much faster than a random one this residual starts to fall.

        1 for a residual without relation to the kernel, up to NC for one along the top direction; 0 where nothing
        moves.
        """
        total = float(self.projections.sum()) + self.remainder
        if total <= 0 or self.mean_eigenvalue <= 0:
            return 0.0
        return float(self.eigenvalues @ self.projections) / total / self.mean_eigenvalue


def spectrum_from_principal_coordinates(coordinates: NDArray[Any], residual: NDArray[Any]) -> Spectrum:
    """`Spectrum` from rows ``(N, C, r)`` in principal coordinates and g₀ ``(N, C)``, without another decomposition.

    Principal: the columns z_k of Z are orthogonal, as `raytt.dynamics.kernel.reduction` gives them. Then the
    eigenvalues of Θ are ‖z_k‖² and u_kᵀ g₀ = z_kᵀ g₀ / ‖z_k‖.
    """
    num_samples, num_outputs, width = coordinates.shape
    rows = coordinates.reshape(-1, width).astype(np.float64)
    flat = residual.reshape(-1).astype(np.float64)
    eigenvalues = np.einsum("nk,nk->k", rows, rows)
    projections = np.divide(np.square(flat @ rows), eigenvalues, out=np.zeros_like(eigenvalues), where=eigenvalues > 0)
    kept = eigenvalues > 0
    seen = projections[kept]
    return Spectrum(
        eigenvalues=eigenvalues[kept] / num_samples,
        projections=seen,
        remainder=max(0.0, float(flat @ flat) - float(seen.sum())),
        num_samples=num_samples,
        num_outputs=num_outputs,
    )
