"""The power of slowing from a second run at another learning rate.

Notation as in `raytt.rates.slowing`; N(ℓ) steps to a loss ℓ: N_real of the second run, N_walk of its walk along the
reference run without slowing.

Where steps overshoot in directions of high curvature, a run at a higher learning rate takes more steps than the walk
says, and one at a lower learning rate fewer: on the stretch between two levels of the loss

    p = ln(ΔN_real / ΔN_walk) / ln(η/η_ref),

so that the walk with p reproduces the second run, and those at other learning rates are interpolated, or extrapolated,
in ln η. Levels are evenly spaced in ln ℓ (in ℓ where losses may be negative) from the start down to what both reached.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from raytt.rates.rate_table import RateTable
from raytt.rates.slowing import Slowing
from raytt.rates.smoothing import first_crossings
from raytt.rates.walk import ReferencePath, walk

Floats = NDArray[np.float64]

STRETCHES = 4
"""Stretches of the path. More would be shorter than the noise of smoothed losses allows to tell."""
MOST = 2.0
"""Largest p: at 1 higher learning rates gain nothing, at 2 twice the rate takes twice the steps."""


def measured_slowing(path: ReferencePath, table: RateTable, other: ReferencePath, usual: float) -> Slowing:
    """The power on each stretch of a reference run's path; as usual where the other run tells nothing.

    Args:
        path: Of the reference run.
        table: Descent rates on it, for the other run's batch size too.
        other: Of a run of the same family at a higher learning rate.
        usual: p for learning rates below the reference run's.
    """
    ratio = other.candidate.effective_lr / path.candidate.effective_lr
    # At a lower learning rate the walk without slowing is the longer one.
    budget = math.ceil(len(other.losses) * max(1.0, 1.0 / ratio))
    walked = walk(path, table, [other.candidate], [budget], slowing=Slowing(usual=0.0))
    curve = walked.losses[0]
    start, end = min(curve[0], other.losses[0]), max(curve.min(), other.losses.min())
    if ratio == 1.0 or not end < start:
        return Slowing(usual=usual)
    levels = np.geomspace(start, end, STRETCHES + 1) if end > 0.0 else np.linspace(start, end, STRETCHES + 1)
    steps = np.arange(len(curve), dtype=np.float64)
    predicted = first_crossings(steps, curve, levels[1:].tolist())
    real = first_crossings(np.arange(len(other.losses), dtype=np.float64), other.losses, levels[1:].tolist())
    known = np.isfinite(predicted) & np.isfinite(real)
    predicted, real = predicted[known], real[known]
    gaps = [np.diff(np.concatenate([[0.0], found])) for found in (real, predicted)]
    told = (gaps[0] > 0.0) & (gaps[1] > 0.0)
    if not told.any():
        return Slowing(usual=usual)
    powers = np.log(gaps[0][told] / gaps[1][told]) / math.log(ratio)
    return Slowing(
        usual=usual,
        ends=np.interp(predicted[told], steps, walked.places[0]),
        powers=np.clip(powers, 0.0, MOST),
        measured_at=ratio,
    )
