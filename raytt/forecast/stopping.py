"""Where early stopping will end a run, and what the best checkpoint will have.

A predicted curve is smooth, the metric that a trainer looks at is not: with scatter s between evaluations the patience
runs out sooner than on the curve itself, and the checkpoint that is kept is the luckiest one. So the rule
(`raytt.task.early_stopping`) is applied to `DRAWS` copies of the curve at the evaluations of the run,

    u_k + s ε_k,        ε_k standard normal, from one stream that all candidates share (common random numbers),

with s the scatter of the reference run's own evaluations. The steps and the kept step are medians over the copies, and
the quality is that of the curve at the kept step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from raytt.forecast.final_quality import QualityCurve
from raytt.forecast.interval import COVERAGE
from raytt.task.early_stopping import EarlyStopping

DRAWS = 64
"""Copies: medians of so many vary by a tenth of their spread."""
SEED = 20261129
"""Of the stream."""


@dataclass(frozen=True, kw_only=True)
class PredictedStop:
    """Where a run ends."""

    steps: float
    """Median."""
    low: float
    """Lower end of the 90 % interval."""
    high: float
    """Upper end."""
    kept: float
    """Step whose weights are kept; the median."""


def predicted_stop(
    curve: QualityCurve, stopping: EarlyStopping, budget: int, *, steps_per_epoch: float
) -> PredictedStop:
    """The end of a run of ``budget`` steps under early stopping on the objective of ``curve``."""
    at = stopping.evaluations(budget, steps_per_epoch=steps_per_epoch)
    sign = curve.objective.sign
    smooth = curve.stretched(curve.values(at.astype(np.float64)))
    noise = np.random.default_rng(SEED).standard_normal((DRAWS, len(at))) * curve.scatter()
    found = np.array([stopping.ends(sign * curve.shrunk(smooth + row)) for row in noise])
    ends, kept = at[found[:, 0]].astype(np.float64), at[found[:, 1]].astype(np.float64)
    below = (1.0 - COVERAGE) / 2.0
    low, middle, high = (float(np.quantile(ends, q, method="nearest")) for q in (below, 0.5, 1.0 - below))
    best = float(np.quantile(kept, 0.5, method="nearest"))
    return PredictedStop(steps=middle, low=min(low, middle), high=max(high, middle), kept=min(best, math.floor(middle)))
