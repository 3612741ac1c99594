"""What is not known before a candidate's first evaluation: whether it will fail, and how long an evaluation takes.

Both are smoothed over alike candidates: with similarity k, a mean m over those seen, and share t of the variance put
down to hyperparameters, the best linear prediction from values y of those seen is

    m + t k_* (t k + (1 − t) 1)⁻¹ (y − m).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FAILURE_SHARE = 0.4
"""t of failures (0 or 1): little, as many have causes that no hyperparameter tells."""
COST_SHARE = 0.95
"""t of ln of seconds: nearly all."""
_LEAST = 0.01


def smoothed(similarity: Floats, seen: Ints, values: Floats, mean: float, share: float) -> Floats:
    """The formula above at all n candidates, shape (n,)."""
    among = share * similarity[np.ix_(seen, seen)] + (1.0 - share) * np.eye(len(seen))
    return np.asarray(mean + share * similarity[:, seen] @ np.linalg.solve(among, values - mean))


def failure_chances(similarity: Floats, seen: Ints, failed: NDArray[np.bool_]) -> Floats:
    """Probability of failing of each, (n,); 0 for those seen. ``failed`` belongs to ``seen``."""
    chances = np.zeros(len(similarity))
    if failed.any():
        mean = (float(failed.sum()) + 0.5) / (len(seen) + 1.0)
        chances = smoothed(similarity, seen, failed.astype(np.float64), mean, FAILURE_SHARE)
        chances = np.clip(chances, _LEAST, 1.0 - _LEAST)
    chances[seen] = 0.0
    return chances


def seconds_each(similarity: Floats, seen: Ints, seconds: Floats) -> Floats:
    """Seconds of an evaluation of each, (n,): those seen as they are, others predicted; ones while none is seen."""
    if not len(seen):
        return np.ones(len(similarity))
    logs = np.log(np.maximum(seconds, 1e-9))
    found = np.exp(smoothed(similarity, seen, logs, float(logs.mean()), COST_SHARE))
    found[seen] = seconds
    return np.asarray(found)
