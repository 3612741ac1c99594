"""Exact Gaussian process regression with mean 0, a given covariance and known noise.

Notation: y (n,) observations, K (n, n) covariance of the function at their places, s (n,) standard deviation of their
noise, C = K + diag(s²) = L Lᵀ.

    posterior at m places      mean K_* C⁻¹ y,  covariance K_** − K_* C⁻¹ K_*ᵀ          (K_* of shape (m, n))
    ln p(y)                    −½ yᵀ C⁻¹ y − Σ ln L_ii − ½ n ln 2π
    y_I from all others        mean y_I − [C⁻¹]_II⁻¹ [C⁻¹ y]_I,  covariance [C⁻¹]_II⁻¹   (I any set of observations)

Source: Rasmussen and Williams, *Gaussian Processes for Machine Learning*, 2006, algorithm 2.1 and section 5.4.2, whose
single left-out observation is a set here (block inverse).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def log_density(difference: Floats, covariance: Floats) -> float:
    """The logarithm of the normal density with that covariance at that difference from the mean."""
    factor = cho_factor(covariance, lower=True)
    half = float(np.log(np.diag(factor[0])).sum())
    n = len(difference)
    return -0.5 * float(difference @ cho_solve(factor, difference)) - half - 0.5 * n * math.log(2.0 * math.pi)


@dataclass(frozen=True, kw_only=True, eq=False)
class GaussianProcess:
    """Observations of a function with a covariance; n may be 0."""

    covariance: Floats
    """K, shape (n, n)."""
    noise: Floats
    """s > 0, shape (n,)."""
    values: Floats
    """y, shape (n,)."""

    @cached_property
    def _inverse(self) -> Floats:
        n = len(self.values)
        total = self.covariance + np.diag(np.square(self.noise))
        return np.asarray(cho_solve(cho_factor(total, lower=True), np.eye(n))) if n else np.zeros((0, 0))

    def posterior(self, cross: Floats, prior: Floats) -> tuple[Floats, Floats]:
        """Mean (m,) and covariance (m, m) of the function at m places.

        Args:
            cross: K_*, shape (m, n).
            prior: K_**, shape (m, m).
        """
        gain = cross @ self._inverse
        covariance = prior - gain @ cross.T
        return gain @ self.values, 0.5 * (covariance + covariance.T)

    def log_likelihood(self) -> float:
        """The logarithm of p(y); 0 without observations."""
        if not len(self.values):
            return 0.0
        return log_density(self.values, self.covariance + np.diag(np.square(self.noise)))

    def left_out(self, chosen: Ints) -> tuple[Floats, Floats]:
        """Mean and covariance, noise included, of the observations with these numbers, predicted from all others."""
        block = self._inverse[np.ix_(chosen, chosen)]
        covariance = np.asarray(np.linalg.inv(block))
        return self.values[chosen] - covariance @ (self._inverse @ self.values)[chosen], covariance
