"""Which hyperparameters the predicted cost depends on, one at a time.

For each hyperparameter the candidates are put into groups of equal value (numbers with many values: groups of equal
size), and ε² says how much of the variance of y = ln(seconds to the target) lies between groups: with n candidates in k
groups, SSB and SSW the sums of squares between and within them, ε² = (SSB − (k − 1) SSW/(n − k)) / (SSB + SSW), cut off
at 0 (Kelley 1935, *An unbiased correlation ratio measure*, PNAS 21). Unlike the plain share SSB / (SSB + SSW) it does
not grow with the number of groups.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from raytt.task.candidate import Candidate

MOST_GROUPS = 4
"""Groups into which numbers with more values than that are put."""
LEAST = 8
"""Candidates below which nothing is said: a few points are explained by anything."""


@dataclass(frozen=True, kw_only=True)
class Importance:
    """What one hyperparameter alone explains."""

    name: str
    """Of the hyperparameter."""
    share: float
    """ε² in [0, 1]."""


def importances(candidates: Sequence[Candidate], seconds: Sequence[float]) -> tuple[Importance, ...]:
    """Hyperparameters that differ between candidates, the one that explains most first.

    Args:
        candidates: Those that reach the target; nothing is said about fewer than `LEAST`.
        seconds: Their predicted times, > 0.
    """
    if len(candidates) < LEAST:
        return ()
    logs = [math.log(s) for s in seconds]
    configs = [asdict(candidate) for candidate in candidates]
    found = []
    for name in configs[0]:
        values = [_hashable(config[name]) for config in configs]
        groups = _groups(values)
        if 1 < len(set(groups)) < len(groups):
            found.append(Importance(name=name, share=explained(groups, logs)))
    return tuple(sorted(found, key=lambda f: (-f.share, f.name)))


def explained(groups: Sequence[int], values: Sequence[float]) -> float:
    """ε² of ``values`` by group number; 0 where values do not vary."""
    labels, y = np.asarray(groups), np.asarray(values, dtype=np.float64)
    names = np.unique(labels)
    within = sum(float(np.square(y[labels == g] - y[labels == g].mean()).sum()) for g in names)
    total = float(np.square(y - y.mean()).sum())
    if total <= 0.0 or len(y) <= len(names):
        return 0.0
    return max(0.0, (total - within - (len(names) - 1) * within / (len(y) - len(names))) / total)


def _groups(values: Sequence[Any]) -> list[int]:
    distinct = sorted(set(values), key=lambda v: (v is None, str(type(v)), v if v is not None else 0))
    if len(distinct) <= MOST_GROUPS or not all(isinstance(v, int | float) for v in distinct):
        return [distinct.index(v) for v in values]
    edges = np.quantile(np.asarray(values, dtype=np.float64), np.linspace(0, 1, MOST_GROUPS + 1)[1:-1])
    return [int(g) for g in np.searchsorted(edges, np.asarray(values, dtype=np.float64), side="right")]


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
