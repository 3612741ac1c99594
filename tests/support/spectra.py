"""The spectrum by its definition."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytt.dynamics.kernel.spectrum import Spectrum


def spectrum_from_gram(gram: NDArray[np.float64], residual: NDArray[Any]) -> Spectrum:
    """From the eigenvectors of Θ ``(NC, NC)`` and g₀ ``(N, C)``; eigenvalues below 1e-12 times the largest are 0."""
    num_samples, num_outputs = residual.shape
    flat = residual.reshape(-1).astype(np.float64)
    eigenvalues, vectors = np.linalg.eigh(gram)
    kept = np.flatnonzero(eigenvalues > 1e-12 * max(eigenvalues[-1], 0.0))[::-1]
    projections = np.square(vectors[:, kept].T @ flat)
    return Spectrum(
        eigenvalues=eigenvalues[kept] / num_samples,
        projections=projections,
        remainder=max(0.0, float(flat @ flat - projections.sum())),
        num_samples=num_samples,
        num_outputs=num_outputs,
    )
