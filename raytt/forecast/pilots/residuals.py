"""By how much a pilot was slower than predicted, in learning-rate time.

Notation: W_y the predicted walk of a candidate whose progress per step is multiplied with e^−y
(`raytt.rates.walk`), t(W, d) its step to depth d = ln(initial loss / loss), t_real(d) that of the pilot.

The residual y(d) solves t(W_y, d) = t_real(d). With a constant learning rate this is y = ln(τ_real/τ_predicted), with
the learning-rate time τ = Σ η; with warm-up and schedules it is what the walk itself has to be slowed by, so that the
same number moves a forecast. It is interpolated between walks at a grid of y.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from raytt.forecast.pilots.pilot_run import Passing, PilotRun
from raytt.rates.smoothing import as_smoothed
from raytt.rates.walk import Walk
from raytt.task.candidate import Candidate

Floats = NDArray[np.float64]
Walker = Callable[[Sequence[Candidate], Sequence[int], Floats], Walk]
"""Walks candidates with given budgets and paces e^−y."""

GRID = np.linspace(-2.0, 2.0, 41)
"""y at which walks are made; a residual beyond its ends is taken to be there."""


@dataclass(frozen=True, kw_only=True)
class Residual:
    """One observation."""

    depth: float
    """d."""
    value: float
    """y."""
    noise: float
    """Standard error of y."""


def residuals(run: PilotRun, passed: Sequence[Passing], initial_loss: float, walker: Walker) -> list[Residual]:
    """The residual at each level that the pilot passed; without those that the walk reaches at no pace.

    Args:
        run: The pilot.
        passed: Levels, and where it passed them.
        initial_loss: To which depths refer.
        walker: The prediction.
    """
    if not passed:
        return []
    count = len(GRID)
    walked = walker([run.candidate] * count, [run.budget] * count, np.exp(-GRID))
    # What the smoothing of the pilot's own losses shows is compared with what it would show of the walk.
    # Evaluations are not smoothed, and do not depend on the size of minibatches.
    shown = replace(walked, losses=as_smoothed(walked.losses) if run.target is None else walked.learnt)
    steps, _ = shown.steps_to([initial_loss * math.exp(-one.depth) for one in passed])
    found = []
    for one, crossings in zip(passed, steps.T, strict=True):
        known = np.isfinite(crossings) & (crossings > 0.0)
        if known.any():
            # A slower walk cannot arrive earlier, but for the rounding of interpolated crossings.
            logs = np.maximum.accumulate(np.log(crossings[known]))
            value = float(np.interp(math.log(one.steps), logs, GRID[known]))
            found.append(Residual(depth=one.depth, value=value, noise=one.noise))
    return found
