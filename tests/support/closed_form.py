"""Squared loss without noise: loss curves of the linearized network in closed form.

Notation: eigenpairs (κ_k, u_k) of Θ/N, c_k = (u_kᵀ g₀)², what no weight reaches c_⊥ = ‖g₀‖² − Σ c_k, learning rate η,
momentum μ. The residual's part along u_k is multiplied by p_k(t), and the mean loss is

    L(t) = (1/2N) (Σ_k p_k(t)² c_k + c_⊥)

==================  ==============================================================================================
continuous flow     p_k = exp(−κ_k τ), τ = ∫ η dt                (Zancato et al. 2020, arXiv 2008.12478, §3)
gradient steps      p_k = Π_{s<t} (1 − η_s κ_k)
heavy ball          (p_k(t), p_k(t−1)) = Mᵗ (1, 1), M = [[1 + μ − η κ_k, −μ], [1, 0]]   (Polyak 1964)
==================  ==============================================================================================

The mean of the stochastic differential equation of `raytt.dynamics.sde` follows the flow: its noise has mean zero.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from raytt.dynamics.kernel.spectrum import Spectrum

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def flow_factors(eigenvalues: Floats, tau: Floats) -> Floats:
    """p_k at rescaled times, ``(K,), (T,) -> (T, K)``."""
    return np.asarray(np.exp(-np.multiply.outer(tau, eigenvalues)))


def step_factors(eigenvalues: Floats, rates: Floats) -> Floats:
    """p_k after 0, 1, …, S gradient steps with learning rates ``(S,)``, shape (S + 1, K)."""
    single = 1.0 - np.multiply.outer(rates, eigenvalues)
    return np.concatenate([np.ones((1, len(eigenvalues))), np.cumprod(single, axis=0)])


def heavy_ball_factors(eigenvalues: Floats, lr: float, momentum: float, steps: Ints) -> Floats:
    """p_k after the given numbers of steps at constant learning rate, ``(K,), (T,) -> (T, K)``."""
    single = np.zeros((len(eigenvalues), 2, 2))
    single[:, 0, 0] = 1.0 + momentum - lr * eigenvalues
    single[:, 0, 1] = -momentum
    single[:, 1, 0] = 1.0
    return np.stack([np.linalg.matrix_power(single, int(t)).sum(axis=2)[:, 0] for t in steps])


def mean_loss(spectrum: Spectrum, factors: Floats) -> Floats:
    """L from the factors p_k, ``(…, K) -> (…,)``."""
    seen = np.square(factors) @ spectrum.projections
    return np.asarray(0.5 * (seen + spectrum.remainder) / spectrum.num_samples)
