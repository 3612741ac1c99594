"""The loss curve behind the minibatch losses that a trainer logs, and where it first meets a target.

Notation: ℓ_t the loss of minibatch t = 0 … T − 1 before update t, so at weights after t updates.

The curve at t is a local linear fit: the value at t of the line that minimises Σ_u K((u−t)/h_t) (ℓ_u − a − b (u−t))²
with the tricube kernel K(x) = (1 − |x|³)³ and h_t = max(`LEAST_WINDOW`, `WINDOW` · t) (Cleveland 1979, *Robust locally
weighted regression and smoothing scatterplots*, without the robustness). The window is centred, so that the curve does
not lag behind as a running mean does, grows in proportion to the steps done, as a loss curve's own time scale does, and
knows nothing of epochs. It holds about as many minibatches for a slow configuration as for a fast one at the same place
of the curve, and more of them the later it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

WINDOW = 0.3
"""Half-width of the kernel, as a share of the steps done."""
LEAST_WINDOW = 5.0
"""Least half-width, steps."""
SCALE_FREE = 2 * round(LEAST_WINDOW / WINDOW)
"""Twice the step from which on the width is `WINDOW` · t."""


def smoothed(losses: Floats) -> Floats:
    """The curve at t = 0 … T − 1 from the minibatch losses, shape ``(T,)`` both.

    From the first loss that is not finite on, the curve is +inf.
    """
    bad = np.flatnonzero(~np.isfinite(losses))
    end = int(bad[0]) if len(bad) else len(losses)
    curve = np.full(len(losses), np.inf)
    for t in range(end):
        first, weights = _weights(t, end)
        curve[t] = weights @ losses[first : first + len(weights)]
    return curve


def as_smoothed(curves: Floats) -> Floats:
    """Expected losses as the smoothing would show them, shape ``(M, T)`` both.

    A fit over `LEAST_WINDOW` steps either way lifts a curve that falls within a few steps. From `SCALE_FREE` on, the
    window is a share of the steps done, and what it lifts a power law of t by is below a per cent.
    """
    found = curves.copy()
    end = curves.shape[1]
    for t in range(min(end, SCALE_FREE)):
        first, weights = _weights(t, end)
        found[:, t] = curves[:, first : first + len(weights)] @ weights
    return found


def sharpened(curve: Floats) -> Floats:
    """A smoothed curve less what smoothing lifted it by, to first order: 2 s − S s, shape ``(T,)`` both.

    `as_smoothed` of it is the curve itself to second order.
    """
    return np.asarray(2.0 * curve - as_smoothed(curve[None])[0])


def _weights(t: int, end: int) -> tuple[int, Floats]:
    """The first step that the fit at ``t`` takes in, and its weights from there on; they sum to 1."""
    width = max(LEAST_WINDOW, WINDOW * t)
    first, last = max(0, int(np.ceil(t - width))), min(end, int(np.floor(t + width)) + 1)
    offset = np.arange(first, last) - float(t)
    weight = (1.0 - np.abs(offset / width) ** 3) ** 3
    total, lever, spread = weight.sum(), weight @ offset, weight @ offset**2
    determinant = total * spread - lever**2
    if determinant > 1e-12 * total * spread:
        return first, weight * (spread - lever * offset) / determinant
    return first, weight / total


def first_crossing(steps: Floats, curve: Floats, level: float) -> float:
    """The first place, between records linearly interpolated, at which ``curve`` is at most ``level``; +inf if never.

    Args:
        steps: Where the curve is recorded, shape ``(T,)``, increasing.
        curve: Shape ``(T,)``; may hold +inf.
        level: The target.
    """
    below = np.flatnonzero(curve <= level)
    if len(below) == 0:
        return np.inf
    at = int(below[0])
    if at == 0 or not np.isfinite(curve[at - 1]):
        return float(steps[at])
    share = (curve[at - 1] - level) / (curve[at - 1] - curve[at])
    return float(steps[at - 1] + share * (steps[at] - steps[at - 1]))


def first_crossings(steps: Floats, curve: Floats, levels: Sequence[float]) -> Floats:
    """`first_crossing` of each level, shape ``(levels,)``."""
    return np.asarray([first_crossing(steps, curve, level) for level in levels])
