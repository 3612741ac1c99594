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
from dataclasses import dataclass
from typing import Any

import numpy as np

from raytt.task.candidate import Candidate, names_of

MOST_GROUPS = 4
"""Groups into which numbers with more values than that are put."""
LEAST = 8
"""Candidates below which no share is computed: with fewer, any grouping explains most of the variance. A convention of
presentation."""


@dataclass(frozen=True, kw_only=True)
class Importance:
    """Share of the variance that one hyperparameter explains alone."""

    name: str
    """Of the hyperparameter."""
    share: float
    """ε² in [0, 1]."""


def importances(candidates: Sequence[Candidate], seconds: Sequence[float]) -> tuple[Importance, ...]:
    """Hyperparameters that differ between candidates, by decreasing share of explained variance.

    One that belongs to an optimizer or a schedule is looked at among the candidates that have it.

    Args:
        candidates: Those that reach the target; of fewer than `LEAST` none is computed.
        seconds: Their predicted times, > 0.
    """
    if len(candidates) < LEAST:
        return ()
    logs = [math.log(s) for s in seconds]
    configs = [candidate.flat() for candidate in candidates]
    found = []
    for name in names_of(candidates):
        having = [i for i, config in enumerate(configs) if name in config]
        if len(having) < LEAST:
            continue
        groups = _groups([configs[i][name] for i in having])
        if 1 < len(set(groups)) < len(groups):
            found.append(Importance(name=name, share=explained(groups, [logs[i] for i in having])))
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
