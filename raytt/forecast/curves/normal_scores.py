"""A metric on the scale of normal scores, so that a ranking is what is learned, whatever the metric's own scale.

Notation: metric y (the higher the better) at progress p ∈ [0, 1], worst and best value seen c and t. What a curve still
lacks of the best shrinks with progress, and who is near the best has little to gain, so that

    s = ((y − c) / (t − c)) ^ max(p, p₀)^b

is comparable between candidates that have come differently far: at p = 1 it is the metric itself between worst and
best. Sorted values s_(1) … s_(m), one per candidate, get the normal quantiles z_(r) = Φ⁻¹((r − ½)/m), ties their mean;
between them z is linear in s, beyond them it goes on as between the first and the last.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

Floats = NDArray[np.float64]

POWER = 0.2
"""b: see ``python -m benchmarks.arena.constants``."""
LEAST_PROGRESS = 0.002
"""p₀."""


@dataclass(frozen=True, kw_only=True, eq=False)
class NormalScores:
    """A fitted scale."""

    worst: float
    """c."""
    best: float
    """t ≥ c."""
    values: Floats
    """Distinct s, rising, shape (k,)."""
    scores: Floats
    """z of each, rising, shape (k,)."""

    @classmethod
    def of(cls, metric: Floats, progress: Floats) -> NormalScores:
        """From one value per candidate.

        Args:
            metric: y, shape (m,), m ≥ 1.
            progress: p, shape (m,).
        """
        worst, best = float(metric.min()), float(metric.max())
        s = np.sort(_comparable(metric, progress, worst, best))
        quantiles = ndtri((np.arange(len(s)) + 0.5) / len(s))
        values, which = np.unique(s, return_inverse=True)
        return cls(worst=worst, best=best, values=values, scores=np.bincount(which, quantiles) / np.bincount(which))

    @property
    def _slope(self) -> float:
        wide = float(self.values[-1] - self.values[0])
        return float(self.scores[-1] - self.scores[0]) / wide if wide > 0 else 1.0

    def score(self, metric: Floats, progress: Floats) -> Floats:
        """Scores z of values (m,) at progress (m,)."""
        s = _comparable(metric, progress, self.worst, self.best)
        beyond = np.maximum(s - self.values[-1], 0.0) + np.minimum(s - self.values[0], 0.0)
        return np.asarray(np.interp(s, self.values, self.scores) + self._slope * beyond)

    def final(self, scores: Floats) -> Floats:
        """The metric at progress 1 that has these scores."""
        beyond = np.maximum(scores - self.scores[-1], 0.0) + np.minimum(scores - self.scores[0], 0.0)
        s = np.interp(scores, self.scores, self.values) + beyond / self._slope
        return np.asarray(self.worst + (self.best - self.worst) * s)


def _comparable(metric: Floats, progress: Floats, worst: float, best: float) -> Floats:
    share = np.maximum((metric - worst) / (best - worst), 0.0) if best > worst else np.full(len(metric), 0.5)
    return np.asarray(share ** (np.maximum(progress, LEAST_PROGRESS) ** POWER))
