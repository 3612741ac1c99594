"""First crossing of the target by the curves of one candidate, per sample path, interpolated between records.

Notation: P sample paths, K records at steps t_0 = 0 < … < t_{K−1}; w the patience of a plateau in steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raytt.dynamics.curves import Curves
from raytt.task.target import TINY, Target

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_WINDOW_POINTS = 16
"""Points at which a curve is read in a quarter of its budget, for the mean over it: numerical resolution."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PathCurves:
    """The curves of one candidate up to step ``end``."""

    times: Floats
    """Steps of the records, shape (K,). The last may lie past ``end`` where ``end`` falls between two records."""
    end: int
    """Last step that counts."""
    train_loss: Floats
    """Shape (P, K)."""
    train_accuracy: Floats | None
    """Shape (P, K)."""
    val_loss: Floats | None
    """Shape (P, K)."""
    val_accuracy: Floats | None
    """Shape (P, K)."""

    @classmethod
    def of(cls, curves: Curves, row: int, *, end: int, resampled: bool = False) -> PathCurves:
        """Row ``row`` of the curves; ``resampled`` takes the bootstrap curves of the training loss."""
        count = int(np.searchsorted(curves.steps, end)) + 1
        loss = curves.train_loss_resampled if resampled else curves.train_loss

        def cut(curve: Floats | None) -> Floats | None:
            return None if curve is None else curve[row, :, :count].astype(np.float64)

        return cls(
            # Records past the last simulated step repeat the value it ended with.
            times=np.minimum(curves.steps[:count], curves.steps_done[row]).astype(np.float64),
            end=end,
            train_loss=loss[row, :, :count].astype(np.float64),
            train_accuracy=cut(curves.train_accuracy),
            val_loss=cut(curves.val_loss),
            val_accuracy=cut(curves.val_accuracy),
        )

    def crossings(self, target: Target, steps_per_epoch: float) -> Floats:
        """Step at which each path first meets the target, +inf where it does not up to ``end``; shape (P,)."""
        if target.settles:
            fall, window = target.value, target.patience * steps_per_epoch
            found = np.array([_plateau(self.times, loss, fall, window) for loss in self._watched(target)])
        else:
            gap = self._gap(target)
            found = np.array([_first_descent(self.times, g) for g in gap])
        return np.where(found <= self.end, found, np.inf)

    def diverged(self) -> Flags:
        """Which paths hold +inf by ``end``, shape (P,)."""
        return np.asarray(~np.isfinite(self.train_loss).all(axis=1))

    def ends_above_start(self) -> Flags:
        """Which paths have a median loss above the initial one in the last quarter up to ``end``, shape (P,)."""
        late = self.times >= 0.75 * self.end
        return np.asarray(np.median(self.train_loss[:, late], axis=1) > self.train_loss[:, 0])

    def peaks(self, until: Floats) -> Floats:
        """Highest loss of each path up to its own step ``until`` (P,) over its initial loss, shape (P,); ≥ 1."""
        before = np.where(self.times <= until[:, None], self.train_loss, 0.0).max(axis=1)
        return np.asarray(before / np.maximum(self.train_loss[:, 0], TINY))

    def loss_ratio(self, at: Floats) -> float:
        """Loss over its initial value at each path's own step ``at`` (P,), the median of those that are finite."""
        reached = np.isfinite(at)
        curves = self.train_loss[reached]
        now = [np.interp(t, self.times, loss) for t, loss in zip(at[reached], curves, strict=True)]
        return float(np.median(np.asarray(now) / np.maximum(curves[:, 0], TINY)))

    def late_gaps(self, target: Target) -> tuple[Floats, Floats]:
        """Mean distance to the target in the third and in the last quarter up to ``end``, both (P,); not for plateaus.

        ln(loss / target) for losses, missing accuracy for accuracies; +inf where the path diverged.
        """
        gap, diverged = self._gap(target), self.diverged()

        def mean(start: float, stop: float) -> Floats:
            at = np.linspace(start, stop, _WINDOW_POINTS) * self.end
            return np.array(
                [np.inf if d else np.interp(at, self.times, g).mean() for g, d in zip(gap, diverged, strict=True)]
            )

        return mean(0.5, 0.75), mean(0.75, 1.0)

    def last_falls(self, target: Target, window: float) -> Floats:
        """How far the target's loss falls on each path in its last window, ln L(end − w) − ln L(end), shape (P,).

        +inf where the path diverged or w > end.
        """
        log_loss = np.log(np.maximum(self._watched(target), TINY))
        if window > self.end:
            return np.full(len(log_loss), np.inf)
        ends = [np.interp([self.end - window, self.end], self.times, curve) for curve in log_loss]
        return np.array([early - late if np.isfinite(late) else np.inf for early, late in ends])

    def _watched(self, target: Target) -> Floats:
        """The curve that the target is on, shape (P, K)."""
        return target.pick(
            train_loss=self.train_loss,
            train_accuracy=self.train_accuracy,
            val_loss=self.val_loss,
            val_accuracy=self.val_accuracy,
        )

    def _gap(self, target: Target) -> Floats:
        """Distance to the target (`Target.distance`), shape (P, K)."""
        return target.distance(
            train_loss=self.train_loss,
            initial_loss=self._watched(target)[:, :1],
            train_accuracy=self.train_accuracy,
            val_loss=self.val_loss,
            val_accuracy=self.val_accuracy,
        )


def _first_descent(times: Floats, gap: Floats) -> float:
    """Step at which the piecewise linear ``gap`` (shape (K,)) first comes down to 0; +inf if it does not."""
    hits = np.flatnonzero(gap <= 0.0)
    if len(hits) == 0:
        return np.inf
    i = int(hits[0])
    if i == 0 or not np.isfinite(gap[i - 1]):
        return float(times[i])
    fraction = gap[i - 1] / (gap[i - 1] - gap[i])
    return float(times[i - 1] + fraction * (times[i] - times[i - 1]))


def _plateau(times: Floats, loss: Floats, value: float, window: float) -> float:
    """First step t ≥ w at which L(t) > (1 − value) L(t − w) and L(t) ≤ L(0), on a log-linear curve of shape (K,).

    Without the second condition a loss that climbs would count as having settled.
    """
    finite = np.isfinite(loss)
    times, log_loss = times[finite], np.log(np.maximum(loss[finite], TINY))
    # ln L(t) − ln L(t − w) is piecewise linear, with knots at the records and one window after them.
    knots = np.unique(np.concatenate([times, times + window]))
    knots = knots[(knots >= window) & (knots <= times[-1])]
    if len(knots) == 0:
        return np.inf
    now = np.interp(knots, times, log_loss)
    gap = np.log1p(-value) - (now - np.interp(knots - window, times, log_loss))
    hits = np.flatnonzero((gap < 0.0) & (now <= log_loss[0]))
    if len(hits) == 0:
        return np.inf
    i = int(hits[0])
    if i == 0 or gap[i - 1] < 0.0:
        return float(knots[i])
    fraction = gap[i - 1] / (gap[i - 1] - gap[i])
    return float(knots[i - 1] + fraction * (knots[i] - knots[i - 1]))
