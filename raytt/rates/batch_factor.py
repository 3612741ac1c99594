"""How descent rates depend on the batch size, told from rates of which each alone may be mostly noise.

Notation: v̂_B(s) ± e_B(s) the estimated rate for batch size B at saved state s = 0 … P − 1, B_ref the reference's.

*One number a state.* 1/v_B is close to a straight line in 1/B (both ends are exact for an optimizer that divides by
√(ḡ² + s²/B) per coordinate: v_∞ = Σ|ḡ|, and v ∝ √B is spread out by coordinates of different noise). The line has one
shape, the logarithmic slope σ = d ln v/d ln B at B_ref, in (0, 1):

    v_B / v_{B_ref} = 1 / (1 − σ + σ B_ref/B).

*Neighbouring states.* The slope changes slowly along the path: x_s = logit σ(s) is a random walk with steps of standard
deviation `DRIFT` per state, which starts from a prior (`Prior`). With v_{B_ref}(s) ≥ 0 at its best value for each x,
the likelihood of x_s is that of normal errors. The posterior of all x_s follows exactly on a grid (forward–backward
recursion: Rabiner 1989, *A tutorial on hidden Markov models*). Where rates are precise they decide; where they are
noise, or negative by chance, the prior does, and says how little is known.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DRIFT = 0.5
"""Standard deviation of the change of logit σ from one state to the next: a judgement, near what precise rates of three
networks show."""
LEAST_ERROR = 0.03
"""Standard error of ln v below which nothing is believed to be known."""
_GRID = np.linspace(-6.0, 6.0, 97)
_TINY = 1e-9


@dataclass(frozen=True, kw_only=True)
class Prior:
    """What is known of the slope at the first state before rates are looked at: logit σ is normal."""

    slope: float
    """Median of σ."""
    spread: float
    """Standard deviation of logit σ."""


ADAPTIVE = Prior(slope=0.45, spread=0.8)
"""For optimizers that divide by a root mean square or take signs: between batches of 8 and 64, precise rates of MiniLM
and two small networks have slopes from 0.25 to 0.7 (``python -m benchmarks.rates``, 2026-11-29)."""
PLAIN = Prior(slope=0.07, spread=1.0)
"""For SGD, whose rate does not depend on B unless the network or the data mixes samples: slopes there from 0 to 0.2."""


@dataclass(frozen=True, kw_only=True, eq=False)
class BatchFactors:
    """What was found of P states for several batch sizes."""

    logs: Floats
    """Posterior mean of ln(v_B/v_{B_ref}), shape (P, columns)."""
    errors: Floats
    """Posterior standard deviation of it, shape (P, columns)."""
    rates: Floats
    """v_{B_ref} > 0 at the posterior mean slope, shape (P,)."""


def batch_factors(batch_sizes: Floats, reference: int, rates: Floats, errors: Floats, prior: Prior) -> BatchFactors:
    """The posterior.

    Args:
        batch_sizes: B of the columns.
        reference: Number of the reference's column.
        rates: v̂, shape ``(P, columns)``.
        errors: e, shape ``(P, columns)``; +inf or NaN where unknown.
        prior: Of the slope.
    """
    slope = 1.0 / (1.0 + np.exp(-_GRID))
    # (grid, columns)
    shapes = 1.0 / (1.0 - slope[:, None] + slope[:, None] * batch_sizes[reference] / batch_sizes)
    weights = 1.0 / np.square(_believed(rates, errors))
    posterior = _smoothed(_log_likelihoods(shapes, rates, weights), prior)
    logs = np.log(shapes)
    mean = posterior @ logs
    variance = np.maximum(posterior @ np.square(logs) - np.square(mean), 0.0)
    typical = np.exp(mean)
    level = (weights * typical * rates).sum(axis=1) / (weights * np.square(typical)).sum(axis=1)
    least = 0.5 / np.sqrt((weights * np.square(typical)).sum(axis=1))
    return BatchFactors(logs=mean, errors=np.sqrt(variance), rates=np.maximum(level, least))


def _believed(rates: Floats, errors: Floats) -> Floats:
    """Standard errors with a lower bound; unknown ones are as large as the largest rate."""
    largest = float(np.abs(rates).max()) or 1.0
    known = np.where(np.isfinite(errors), errors, largest)
    return np.maximum(known, np.maximum(LEAST_ERROR * np.abs(rates), _TINY * largest))


def _log_likelihoods(shapes: Floats, rates: Floats, weights: Floats) -> Floats:
    """Of each slope at each state, shape ``(P, grid)``, with v_{B_ref} ≥ 0 at its best value."""
    squares = weights @ np.square(shapes).T
    level = np.maximum((weights * rates) @ shapes.T / squares, 0.0)
    residual = rates[:, None, :] - level[:, :, None] * shapes[None]
    found: Floats = -0.5 * (weights[:, None, :] * np.square(residual)).sum(axis=2)
    return found


def _smoothed(likelihoods: Floats, prior: Prior) -> Floats:
    """Posterior probabilities of the grid at each state, shape ``(P, grid)``."""
    start = np.log(prior.slope / (1.0 - prior.slope))
    first = np.exp(-0.5 * np.square((_GRID - start) / prior.spread))
    moves = np.exp(-0.5 * np.square((_GRID[:, None] - _GRID) / DRIFT))
    moves /= moves.sum(axis=1, keepdims=True)
    emitted = np.exp(likelihoods - likelihoods.max(axis=1, keepdims=True))
    forward, backward = np.empty_like(emitted), np.ones_like(emitted)
    for state in range(len(emitted)):
        ahead = first if state == 0 else forward[state - 1] @ moves
        forward[state] = ahead * emitted[state]
        forward[state] /= forward[state].sum()
    for state in range(len(emitted) - 2, -1, -1):
        backward[state] = moves @ (emitted[state + 1] * backward[state + 1])
        backward[state] /= backward[state].max()
    posterior = forward * backward
    return np.asarray(posterior / posterior.sum(axis=1, keepdims=True))
