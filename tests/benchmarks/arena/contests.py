"""Small made-up contests."""

from __future__ import annotations

import numpy as np

from benchmarks.arena.contest import Contest


def contest(n: int = 12, whole: int = 9, failing: int = 2) -> Contest:
    """Curves that rise to 50 + number, the first ones failing after one evaluation; evaluations of 100 s."""
    metric = tuple(
        np.array([1.0]) if i < failing else (50.0 + i) * (1.0 - 0.5 * np.exp(-np.arange(1, whole + 1) / 3.0))
        for i in range(n)
    )
    features = np.stack([np.arange(n, dtype=np.float64), *np.eye(3)[np.arange(n) % 3].T], axis=1)
    return Contest(
        name="made up",
        columns=("lr", "cat:opt:a", "cat:opt:b", "cat:opt:c"),
        features=features,
        metric=metric,
        seconds=tuple(np.full(len(m), 100.0) for m in metric),
        progress=tuple(np.arange(1, whole + 1) / whole for _ in metric),
    )
