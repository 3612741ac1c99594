"""Whose next evaluation tells most about the ranking for its cost.

Notation: final scores z_j of n candidates, mean m_j and variance V_j by what is known; a further observation of i at
some later progress has variance w_i and covariance C_ji with z_j. It lowers V_j by C_ji² / w_i, so it tells per second

    Σ_j ω_j C_ji² / w_i / cost_i,    ω_j = 1 + λ n π_j,    π_j = P(z_j is the greatest).

The ones make the whole ranking less doubtful, π the choice of the best; λ says how much the best counts beside all.
The later progress is that after 1, `HORIZON` or all evaluations that are left, whichever tells most per cost. A
candidate that may fail with probability f is only worth 1 − f of that, but its first evaluation also settles whether
it fails: it lowers the variance of its score by f (1 − f) (m_i − m_fail)².

π is a share of draws with a fixed seed, candidates taken as independent.

The sum is an entropy-free kin of the knowledge gradient (Frazier, Powell, Dayanik 2009), which
`raytt.forecast.pilots.choice` uses for costs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raytt.forecast.curves.curve_process import CurveProcess

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

HORIZON = 4
BEST_WEIGHT = 0.3
"""λ."""
_SEED, _DRAWS = 0, 512


@dataclass(frozen=True, kw_only=True, eq=False)
class Buyable:
    """m candidates that can be trained on."""

    candidates: Ints
    """Their numbers, shape (m,)."""
    done: Ints
    """Evaluations that each has had, shape (m,)."""
    progress: Floats
    """Of all n candidates after each of their evaluations, shape (n, evaluations)."""
    seconds: Floats
    """Expected of an evaluation of each, shape (m,)."""
    failing: Floats
    """f of each, shape (m,)."""
    failed_score: float
    """m_fail."""


def best_chances(mean: Floats, variance: Floats) -> Floats:
    """π, shape (n,)."""
    draws = np.random.default_rng(_SEED).standard_normal((_DRAWS, len(mean)))
    firsts = np.argmax(mean + np.sqrt(variance) * draws, axis=1)
    return np.bincount(firsts, minlength=len(mean)) / _DRAWS


def told_per_second(process: CurveProcess, open_ends: NDArray[np.bool_], weights: Floats, buyable: Buyable) -> Floats:
    """What the next evaluations of candidates tell per second, shape (m,).

    Args:
        process: What is known.
        open_ends: Of all n, whether the end is not known yet.
        weights: ω, shape (n,).
        buyable: The candidates.
    """
    mean, _ = process.final()
    last = buyable.progress.shape[1]
    ids = buyable.candidates
    told = np.zeros(len(ids))
    for ahead in (1, HORIZON, last):
        then = np.minimum(buyable.done + ahead, last)
        places = process.places(ids, buyable.progress[ids, then - 1])
        lowered = (weights * open_ends) @ (np.square(places.covariance) / places.variance)
        told = np.maximum(told, (1.0 - buyable.failing) * lowered / (then - buyable.done))
    # Whether a candidate fails shows with its first evaluation.
    settled = buyable.failing * (1.0 - buyable.failing) * np.square(mean[ids] - buyable.failed_score)
    return np.asarray((told + weights[ids] * settled) / buyable.seconds)
