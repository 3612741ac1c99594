"""The descent rate and the noise of minibatch gradients, from the inner products of different minibatches.

Notation: g_1 … g_K gradients of independent minibatches of one size at one point, E g_b = ḡ, p a diagonal
preconditioner (`Optimizer.descent_scale`; 1 for SGD), ⟨a, b⟩ = Σ_j p_j a_j b_j. A step of learning rate η lowers the
loss by η v to first order, with the *descent rate* v = ⟨ḡ, ḡ⟩. The square of the mean gradient is no estimate of it:
it holds the noise n/K, n = E⟨g_b − ḡ, g_b − ḡ⟩, many times larger than v for small minibatches. Products of different
minibatches are free of it, and of what a minibatch's composition does through batch norm:

    v̂ = (1/K(K−1)) Σ_{a≠b} ⟨g_a, g_b⟩       the mean off the diagonal of the Gram matrix (a U-statistic: all pairs)
    n̂ = (1/K) Σ_b ⟨g_b, g_b⟩ − v̂           what the diagonal has more

Both are unbiased for given p. Minibatches may come in blocks of which only s_i = Σ g_b and q_i = Σ g_b² are known,
since Σ_{a≠b} ⟨g_a, g_b⟩ = ⟨Σ_i s_i, Σ_i s_i⟩ − Σ_i Σ_j p_j q_ij; blocks of one are single minibatches. Standard errors
are jackknife ones over blocks, which lean to the large side (Efron and Stein 1981, *The jackknife estimate of
variance*).

``n`` is tr(p Σ)/B for networks without dependence between samples, so that n/v is the gradient noise scale over B
(McCandlish et al. 2018, arXiv 1812.06162).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raytt.errors import InputError
from raytt.rates.gradients import GradientBlock

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Products:
    """Inner products of J blocks of minibatches."""

    sums: Floats
    """⟨s_i, s_k⟩, shape (J, J); the Gram matrix if each block is a single minibatch."""
    squares: Floats
    """Σ_b ⟨g_b, g_b⟩ within each block, shape (J,)."""
    counts: Floats
    """Minibatches of each block, shape (J,)."""


@dataclass(frozen=True, kw_only=True)
class Signal:
    """What K minibatches say of the descent rate and the noise."""

    rate: float
    """v̂, loss per unit of learning rate; may be negative by chance."""
    noise: float
    """n̂ in the same units: what a single minibatch's gradient has in excess."""
    rate_error: float
    """Standard error of v̂; NaN for a single block."""
    noise_error: float
    """Standard error of n̂; NaN for a single block."""
    minibatches: int
    """K."""
    norms: tuple[float, ...] = ()
    """|g_b|, K numbers; none where they were not kept."""
    pull: float = 0.0
    """⟨ḡ, w⟩ over the weights that decay: what weight decay adds to the rate, per λ."""
    loss: float = math.nan
    """Mean loss of the minibatches; NaN where it was not kept."""


def block_products(blocks: Sequence[GradientBlock], scale: Tensor | None = None) -> Products:
    """Exact products of blocks.

    Args:
        blocks: Of one point and batch size, different minibatches in each.
        scale: p, shape ``(D,)``; None means 1.
    """
    totals = torch.stack([block.total for block in blocks])
    weighted = totals if scale is None else totals * scale
    ones = torch.ones(1) if scale is None else scale
    return Products(
        sums=(weighted @ totals.T).to(torch.float64).numpy(),
        squares=np.asarray([float((block.squares * ones).sum(dtype=torch.float64)) for block in blocks]),
        counts=np.asarray([float(block.count) for block in blocks]),
    )


def estimate(products: Products) -> Signal:
    """v̂, n̂ and their standard errors.

    Raises:
        InputError: If there are fewer than two minibatches.
    """
    total = int(products.counts.sum())
    if total < 2:
        raise InputError(f"A rate was asked for from {total} minibatch.", "Take at least two minibatches per rate.")
    everything = np.ones(len(products.counts), dtype=bool)
    rate, noise = _statistics(products, everything)
    rate_error = noise_error = float("nan")
    # Leaving a block out must leave two minibatches.
    if len(everything) > 1 and total - products.counts.max() >= 2:
        without = []
        for left_out in range(len(everything)):
            kept = everything.copy()
            kept[left_out] = False
            without.append(_statistics(products, kept))
        spread = np.var(np.asarray(without), axis=0) * (len(everything) - 1)
        rate_error, noise_error = (float(x) for x in np.sqrt(spread))
    return Signal(rate=rate, noise=noise, rate_error=rate_error, noise_error=noise_error, minibatches=total)


def moments(blocks: Sequence[GradientBlock]) -> tuple[Tensor, Tensor]:
    """Squared mean and variance of a minibatch's gradient per coordinate, shape ``(D,)`` each.

    ḡ² from all pairs of minibatches, (s² − q)/(K(K−1)), at least 0 and at most q/K; the variance is the rest of q/K.
    """
    count = sum(block.count for block in blocks)
    if count < 2:
        raise InputError(f"Moments were asked for from {count} minibatch.", "Take at least two minibatches.")
    total = torch.stack([block.total for block in blocks]).sum(dim=0)
    squares = torch.stack([block.squares for block in blocks]).sum(dim=0)
    second = squares / count
    squared_mean = ((total.square() - squares) / (count * (count - 1))).clamp(min=0.0)
    squared_mean = torch.minimum(squared_mean, second)
    return squared_mean, second - squared_mean


def _statistics(products: Products, kept: NDArray[np.bool_]) -> tuple[float, float]:
    count = products.counts[kept].sum()
    diagonal = products.squares[kept].sum()
    pairs = products.sums[np.ix_(kept, kept)].sum() - diagonal
    rate = pairs / (count * (count - 1.0))
    return float(rate), float(diagonal / count - rate)
