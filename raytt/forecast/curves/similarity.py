"""How alike candidates are, from their hyperparameters alone: the prior covariance over candidates.

Each hyperparameter becomes coordinates: a number its rank among the values that occur, from 0 to 1 (so that no scale
need be stated), a word or a truth value one 0/1 coordinate per value. Coordinates are divided by their root mean square
difference over all pairs, and

    k(x, x') = exp(−Σ_j (x_j − x'_j)² / d),    d coordinates,

which is exp(−1) for two candidates as unlike as two drawn at random, whatever d is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from raytt.errors import InputError

Floats = NDArray[np.float64]
Hyperparameter = float | int | str | bool | None


def coordinates(candidates: Sequence[Mapping[str, Hyperparameter]]) -> Floats:
    """Coordinates of n candidates, shape (n, d); those equal for all are left out.

    Raises:
        InputError: For a number that is not finite, or hyperparameters that are neither numbers nor words.
    """
    names = sorted({name for one in candidates for name in one})
    columns: list[Floats] = []
    for name in names:
        values = [one.get(name) for one in candidates]
        if all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values):
            columns.append(_ranks(name, np.array(values, dtype=np.float64)))
            continue
        words = [_word(name, v) for v in values]
        kinds = sorted(set(words))
        columns += [np.array([float(w == kind) for w in words]) for kind in (kinds[:1] if len(kinds) == 2 else kinds)]
    kept = [column for column in columns if np.ptp(column) > 0]
    return np.stack(kept, axis=1) if kept else np.zeros((len(candidates), 0))


def similarity(points: Floats) -> Floats:
    """The formula above for coordinates (n, d), shape (n, n); all ones without coordinates."""
    n, d = points.shape
    if not d:
        return np.ones((n, n))
    scaled = points / np.sqrt(2.0 * points.var(axis=0))
    squares = np.square(scaled).sum(axis=1)
    distances = np.maximum(squares[:, None] + squares[None, :] - 2.0 * scaled @ scaled.T, 0.0)
    np.fill_diagonal(distances, 0.0)
    return np.asarray(np.exp(-distances / d))


def _ranks(name: str, values: Floats) -> Floats:
    if not np.isfinite(values).all():
        raise InputError(f"hyperparameter {name!r} has a value that is not finite", "leave it out or use None")
    return np.asarray((rankdata(values) - 1.0) / max(1, len(values) - 1))


def _word(name: str, value: Hyperparameter) -> str:
    if value is None or isinstance(value, (bool, str, int, float)):
        return repr(value)
    raise InputError(
        f"hyperparameter {name!r} has a value of type {type(value).__name__}", "give numbers, words or truth values"
    )
