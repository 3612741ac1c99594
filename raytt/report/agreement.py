"""How well predictions agree with real training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raytt.results.finished_run import Validated


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Agreement of predictions with real training."""

    both: int
    """Runs that reached the target as predicted."""
    median_factor: float | None
    """Median of exp |ln(predicted/real)|; None without such runs."""
    bias: float | None
    """exp of the mean ln(predicted/real): above 1 where steps are over-predicted."""
    within_20: float | None
    """Share of them within 20 %."""
    wrong_outcome: int
    """Runs that reached the target but were predicted not to, or the reverse."""
    with_interval: int
    """Runs that reached the target and have a 90 % interval."""
    within_interval: int
    """Those of them whose steps lie in it."""


def agreement(runs: Sequence[Validated]) -> Agreement:
    """Over all validated runs."""
    ratios = [r.predicted_steps / r.real_steps for r in runs if r.predicted_steps and r.real_steps]
    logs = [math.log(ratio) for ratio in ratios]
    return Agreement(
        both=len(ratios),
        median_factor=math.exp(float(np.median(np.abs(logs)))) if logs else None,
        bias=math.exp(float(np.mean(logs))) if logs else None,
        within_20=sum(abs(ratio - 1.0) <= 0.2 for ratio in ratios) / len(ratios) if ratios else None,
        wrong_outcome=sum((r.predicted_steps is None) != (r.real_steps is None) for r in runs),
        with_interval=sum(r.within is not None for r in runs),
        within_interval=sum(r.within is True for r in runs),
    )
