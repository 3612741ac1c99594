"""How far predictions are from real training: the measures of one method on one group of runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import kendalltau


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A run and what was predicted of it, at one threshold."""

    real: float
    """Steps; +inf where it was not reached."""
    diverged: bool
    """Whether the real run diverged."""
    predicted: float | None
    """Steps, or None where predicted not to be reached."""
    low: float | None = None
    high: float | None = None
    seconds_per_step: float = 1.0
    """For costs."""
    budget: int = 0
    """Steps the run could have taken."""
    trusted: bool = True
    """False where the method itself says that the prediction is not to be trusted."""


@dataclass(frozen=True, kw_only=True)
class Measures:
    """Over one group; None where there is nothing to measure."""

    reached: int
    """Runs that reach the threshold for real."""
    median: float | None
    """Median |ln(predicted / real)| over them; a prediction of "never" counts as +inf."""
    p90: float | None
    p95: float | None
    bias: float | None
    """Mean ln(predicted / real) over those with a prediction."""
    within_13: float | None
    within_20: float | None
    coverage: float | None
    """Share of those with an interval whose real steps lie in it."""
    never: int
    """Runs that do not reach it."""
    recall: float | None
    """Share of them that is predicted not to."""
    false_alarms: float | None
    """Share of those that reach it but are predicted not to."""
    tau: float | None
    """Kendall's τ of real and predicted cost over those that reach it and have a prediction."""
    regret: float | None
    """Extra real cost of the run ranked first over the truly cheapest one; its budget where it never arrives. As raytt
    ranks: what is not to be trusted comes after what is."""
    trusted: float | None
    """Share of those that reach it whose prediction is to be trusted; that of "never" is."""
    trusted_median: float | None
    """Median error of these."""
    trusted_p90: float | None


def measure(pairs: Sequence[Pair]) -> Measures:
    """All measures that a group of (run, threshold) pairs of one threshold or several allows (see `Measures`)."""
    reach = [p for p in pairs if math.isfinite(p.real)]
    never = [p for p in pairs if not math.isfinite(p.real)]
    errors = np.array([math.inf if p.predicted is None else abs(_log(p)) for p in reach])
    trusted = np.array([p.trusted for p in reach], dtype=bool)
    signed = np.array([_log(p) for p in reach if p.predicted is not None])
    covered = [
        p.low <= p.real <= (math.inf if p.high is None else p.high) for p in reach if p.predicted and p.low is not None
    ]
    both = [p for p in reach if p.predicted is not None]
    tau = None
    if len(both) > 2:
        found = kendalltau([p.real * p.seconds_per_step for p in both], [_cost(p) for p in both]).statistic
        tau = None if math.isnan(found) else float(found)
    return Measures(
        reached=len(reach),
        median=_quantile(errors, 0.5),
        p90=_quantile(errors, 0.9),
        p95=_quantile(errors, 0.95),
        bias=float(signed.mean()) if len(signed) else None,
        within_13=float((errors <= math.log(1.13)).mean()) if len(errors) else None,
        within_20=float((errors <= math.log(1.2)).mean()) if len(errors) else None,
        coverage=float(np.mean(covered)) if covered else None,
        never=len(never),
        recall=float(np.mean([p.predicted is None for p in never])) if never else None,
        false_alarms=float(np.mean([p.predicted is None for p in reach])) if reach else None,
        tau=tau,
        regret=_regret(pairs),
        trusted=float(trusted.mean()) if len(reach) else None,
        trusted_median=_quantile(errors[trusted], 0.5),
        trusted_p90=_quantile(errors[trusted], 0.9),
    )


def percent(value: float | None) -> str:
    """For tables: in per cent; – where there is nothing to measure."""
    return "–" if value is None else "∞" if math.isinf(value) else f"{100.0 * value:.0f}"


def _log(pair: Pair) -> float:
    assert pair.predicted is not None
    return math.log(max(pair.predicted, 1.0) / max(pair.real, 1.0))


def _cost(pair: Pair) -> float:
    return math.inf if pair.predicted is None else pair.predicted * pair.seconds_per_step


def _quantile(values: np.ndarray, share: float) -> float | None:
    if len(values) == 0:
        return None
    # Of the upper value, so that an infinite error is not averaged with a finite one.
    found = float(np.quantile(values, share, method="higher"))
    return found if math.isfinite(found) else math.inf


def _regret(pairs: Sequence[Pair]) -> float | None:
    costs = [(p.real if math.isfinite(p.real) else p.budget) * p.seconds_per_step for p in pairs]
    best = min((c for c, p in zip(costs, pairs, strict=True) if math.isfinite(p.real)), default=None)
    ranked = sorted(range(len(pairs)), key=lambda i: _place(pairs[i]))
    if best is None or pairs[ranked[0]].predicted is None:
        return None
    return costs[ranked[0]] / best - 1.0


def _place(pair: Pair) -> tuple[int, float]:
    """Sorts pairs as raytt ranks candidates."""
    return (2 if pair.predicted is None else 0 if pair.trusted else 1, _cost(pair))
