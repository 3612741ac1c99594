"""What a ranking is worth against the truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Floats = NDArray[np.float64]
BEST_OF = 5


@dataclass(frozen=True, kw_only=True)
class Worth:
    """Of a ranking."""

    spearman: float
    """Rank correlation with the true final metric; runs without a score stand in the middle of those with one."""
    first: float
    """Regret of the first, in points of the metric."""
    five: float
    """Regret of the best of the first five."""
    first_share: float
    """Regret of the first as a share of the best."""


def spearman(a: Floats, b: Floats) -> float:
    """Rank correlation, ties averaged; 0 where one of the two is constant."""
    x, y = rankdata(a) - (len(a) + 1) / 2, rankdata(b) - (len(b) + 1) / 2
    scale = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / scale if scale > 0 else 0.0


def worth(scores: Floats, truth: Floats) -> Worth:
    """Of scores (n,), NaN where a rival says nothing, against the truth (n,).

    A rival that has seen nothing at all gets the expectation of a random choice.
    """
    known = np.isfinite(scores)
    best = float(truth.max())
    if not known.any():
        ranked = np.sort(truth)[::-1]
        n, k = len(truth), min(BEST_OF, len(truth))
        # P(the best of k random ones is the j-th) = C(n − j, k − 1) / C(n, k).
        chance = np.ones(n)
        chance[0] = k / n
        for j in range(1, n):
            chance[j] = chance[j - 1] * max(0.0, n - j - k + 1) / (n - j)
        first = best - float(truth.mean())
        return Worth(spearman=0.0, first=first, five=best - float(chance @ ranked), first_share=first / best)
    filled = np.where(known, scores, np.median(scores[known]))
    order = np.flatnonzero(known)[np.argsort(-scores[known], kind="stable")]
    first = best - float(truth[order[0]])
    return Worth(
        spearman=spearman(filled, truth),
        first=first,
        five=best - float(truth[order[:BEST_OF]].max()),
        first_share=first / best,
    )
