"""Screening: which of many candidates are simulated on all sample paths.

In a wide search space most candidates cost several times as much as the cheapest, and the variance between sample paths
cannot change that. So all candidates are first simulated on one path, and only those within `WITHIN` times the cheapest
on all paths; the others take over the variance of similar candidates in their intervals.

The time of a training step depends on the machine, a ranking may be priced on another machine later, and measured times
vary from run to run. So a candidate is kept if it is near the best in any of the costs T · (B + β) of T steps, where β
is the overhead of a step in samples: from none (cost proportional to the batch size) to infinite (the same cost for
every batch size).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import numpy as np

from raytt.forecast.forecast import Forecast, Status
from raytt.task.candidate import Candidate

SCREENED_FROM = 256
"""Number of candidates up to which all are simulated on all paths (``python -m benchmarks.many_candidates``)."""
WITHIN = 3.0
"""Times the cheapest."""
OVERHEADS = (0.0, 4.0, 16.0, 64.0, 256.0, math.inf)
"""β, samples."""
LEAST = 64
"""Number of candidates that are always kept."""

ON_ONE_PATH = f"simulated on one sample path, as it costs more than {WITHIN:g} times the cheapest"
"""Doubt added to the forecasts of those that are not kept."""


def contenders(forecasts: Mapping[Candidate, Forecast], budgets: Mapping[Candidate, int]) -> list[Candidate]:
    """The candidates to simulate on all sample paths, in the order given.

    A candidate that misses the target counts with its whole budget, since it may just reach it on other paths. The
    cheapest is that among trusted candidates, else among all that reach the target; where none does, all are kept.

    Args:
        forecasts: On one path.
        budgets: Steps each may take.
    """
    best = [c for c, f in forecasts.items() if f.status is Status.REACHED]
    best = best or [c for c, f in forecasts.items() if f.reaches]
    if not best:
        return list(forecasts)
    steps = {c: float(budgets[c]) if f.steps is None else f.steps for c, f in forecasts.items()}
    least = {beta: min(_cost(c, steps[c], beta) for c in best) for beta in OVERHEADS}
    ratio = {c: min(_cost(c, n, beta) / cheapest for beta, cheapest in least.items()) for c, n in steps.items()}
    near = sorted(ratio, key=lambda c: (ratio[c], c.sort_key()))
    kept = {c for rank, c in enumerate(near) if rank < LEAST or ratio[c] <= WITHIN}
    return [c for c in forecasts if c in kept]


def _cost(candidate: Candidate, steps: float, overhead: float) -> float:
    return max(steps, 1.0) * (1.0 if math.isinf(overhead) else candidate.samples_per_step + overhead)


def shared_variances(
    variances: Mapping[Candidate, float | None], wanted: Collection[Candidate]
) -> dict[Candidate, float]:
    """For candidates on one path: the variance between paths of similar candidates.

    Args:
        variances: Of ln(1 + steps) between the paths of each candidate on several; None where some miss the target.
        wanted: Candidates on one path.

    Returns:
        The median over those of the same optimizer and batch size, else of the same optimizer, else over all; only of
        candidates for which there is any.
    """
    known: dict[tuple[object, ...], list[float]] = {}
    for candidate, variance in variances.items():
        if variance is not None:
            for kind in _kinds(candidate):
                known.setdefault(kind, []).append(variance)
    found = {}
    for candidate in wanted:
        alike = next((kind for kind in _kinds(candidate) if kind in known), None)
        if alike is not None:
            found[candidate] = float(np.median(known[alike]))
    return found


def _kinds(candidate: Candidate) -> list[tuple[object, ...]]:
    """Groups that a candidate belongs to, the narrowest first."""
    return [(candidate.optimizer.name, candidate.samples_per_step), (candidate.optimizer.name,), ()]
