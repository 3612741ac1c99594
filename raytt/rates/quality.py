"""Quality in eval mode (validation loss, accuracies) as a function of where a candidate is on the reference's path.

The reference run is evaluated every so often: Q_ref(τ), between records linear in τ, losses in their logarithm. A
candidate at the same place has the same weights, so far as descent rates hold, and hence the same quality,

    Q(t) = Q_ref(τ_t),

unless running statistics of batch norms lag behind it by another amount than behind the reference. With a table of
quality over place and lag (`raytt.rates.lag.LagTable`, S(τ, α)) the difference is taken from there,

    ln Q(t) = ln Q_ref(τ_t) + ln S(τ_t, α_t) − ln S(τ_t, α_ref(τ_t)),

and likewise for accuracies, without logarithms and kept in [0, 1], and for losses that may be negative. The reference
is its own control variate: its predicted curve is its measured one. Beyond the reference's end quality stays as it was
there: nothing is known of it. Where a whole budget has to be judged, it goes on as

    u(τ) = u_end + b (1 − τ_end/τ),        u = ln Q, for accuracies ln(1 − Q),

with the slope b = du/dln τ of the last `TAIL` of ln τ, which it continues and of which no more than b follows in all. b
is shrunk by how well the records tell it, b̂ max(0, 1 − (s/b̂)²) with its standard error s (the positive part of James
and Stein's estimator). An accuracy on a few hundred samples moves in steps, from which no slope can be read. It is
smoothed over ln τ, and its b is that of the loss on the same samples, if that falls, times γ of errors ∝ loss^γ along
the run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from raytt.rates.lag import LagTable

Floats = NDArray[np.float64]

TAIL = 1.1
"""Natural logarithm of the factor of τ over which the trend at the end is fitted: three to five evaluations, whose
steps are in ratios of 1.4."""
LONG_TAIL = 2.3
"""The same for γ: the last tenth of τ to the end."""
MOST_GAMMA = 1.5
"""Bound of γ: a guard, as errors on few samples make steep lines."""
LEAST_ERROR = 1e-3
"""Errors below it, as shares, are taken as it: of 512 samples none is half of it."""
HALF_WIDTH = 0.7
"""Of the smoothing of accuracies, in ln τ: two evaluations to either side."""
_TINY = 1e-300


@dataclass(frozen=True, kw_only=True, eq=False)
class QualityPath:
    """What was evaluated along a reference run."""

    times: Floats
    """τ of the reference after 0 … T updates, shape (T + 1,)."""
    steps: Sequence[int]
    """Updates done at each evaluation, increasing from 0, R of them."""
    curves: Mapping[str, Floats]
    """By name ("val_loss", "val_accuracy", "train_accuracy", …), shape (R,)."""
    lag: LagTable | None = None
    """None for networks without running statistics."""
    updates: int = 1
    """Minibatches that batch norms see per step of the reference."""

    def predicted(self, places: Floats, *, updates: Sequence[int] = (1,)) -> dict[str, Floats]:
        """All curves of M walks, each of shape ``(M, T + 1)`` as ``places``.

        Args:
            places: τ_ref after 0 … T steps.
            updates: Minibatches that batch norms see per step, of each walk or of all.
        """
        at = self.times[list(self.steps)]
        own = None if self.lag is None else self.lag.lags(places, updates=updates)
        return {
            name: self._shrunk(
                name, np.interp(places, at, self._stretched(name, curve)) + self._lag_effect(name, places, own)
            )
            for name, curve in self.curves.items()
        }

    def settled(self, name: str, places: Floats) -> Floats:
        """A curve as it would be if running statistics kept up with the weights."""
        at = self.times[list(self.steps)]
        found = np.interp(places, at, self._stretched(name, self.curves[name]))
        return self._shrunk(name, found + self._lag_effect(name, places, np.zeros(places.shape)))

    def beyond(self, places: Floats) -> Floats:
        """ln(τ/τ_end) where a place lies beyond the end of the reference, 0 before; any shape."""
        return np.asarray(np.log(np.maximum(places / max(float(self.times[-1]), _TINY), 1.0)))

    def extended(self, name: str, values: Floats, places: Floats, *, shift: float = 0.0) -> Floats:
        """What `predicted` gave, with accuracies smoothed, and the trend at the end going on beyond it; any shape.

        Args:
            name: Of the curve.
            values: What `predicted` gave.
            places: Where.
            shift: Logarithm of the factor by which τ is larger; the lag of statistics stays as it was.
        """
        at = self.times[list(self.steps)]
        there = places * np.exp(shift)
        moved = np.interp(there, at, self._stretched(name, self._smoothed[name]))
        found = self._stretched(name, values) + moved - np.interp(places, at, self._stretched(name, self.curves[name]))
        effect = self.trend(name) * -np.expm1(-self.beyond(there))
        if name.endswith("accuracy"):
            return np.asarray(1.0 - (1.0 - np.clip(found, 0.0, 1.0)) * np.exp(effect))
        return self._shrunk(name, found + effect)

    def trend(self, name: str) -> float:
        """The slope b at the end."""
        return self._trends[name]

    @cached_property
    def _trends(self) -> dict[str, float]:
        return {name: self._fitted(name) for name in self.curves}

    @cached_property
    def _smoothed(self) -> dict[str, Floats]:
        return {name: self._smooth(name) for name in self.curves}

    def _fitted(self, name: str) -> float:
        if name.endswith("accuracy"):
            loss = name.replace("accuracy", "loss")
            known = loss in self.curves and self._in_logarithms(loss)
            return min(self._fitted(loss), 0.0) * self._gamma(name, loss) if known else 0.0
        at = self.times[list(self.steps)]
        tail = (at > 0.0) & (at >= self.times[-1] * np.exp(-TAIL))
        if tail.sum() < 3:
            return 0.0
        slope, error = _line(np.log(at[tail]), self._stretched(name, self.curves[name])[tail])
        return slope * max(0.0, 1.0 - error**2 / max(slope**2, _TINY))

    def _gamma(self, accuracy: str, loss: str) -> float:
        at = self.times[list(self.steps)]
        tail = (at > 0.0) & (at >= self.times[-1] * np.exp(-LONG_TAIL))
        losses = np.log(self.curves[loss][tail])
        if tail.sum() < 3 or float(np.ptp(losses)) == 0.0:
            return 0.0
        slope, _ = _line(losses, np.log(np.maximum(1.0 - self.curves[accuracy][tail], LEAST_ERROR)))
        return min(max(slope, 0.0), MOST_GAMMA)

    def _smooth(self, name: str) -> Floats:
        """Records as they are; accuracies by a local linear fit in ln τ with tricube weights, but for the first."""
        records = self.curves[name]
        if not name.endswith("accuracy"):
            return records
        at = self.times[list(self.steps)]
        later = np.flatnonzero(at > 0.0)
        x, found = np.log(at[later]), records.copy()
        for row, here in zip(later, x, strict=True):
            weight = np.clip(1.0 - np.abs((x - here) / HALF_WIDTH) ** 3, 0.0, None) ** 3
            offset, y = x - here, records[later]
            total, lever, spread = weight.sum(), weight @ offset, weight @ offset**2
            determinant = total * spread - lever**2
            if determinant > 1e-9 * total * max(spread, _TINY):
                found[row] = weight @ (y * (spread - lever * offset)) / determinant
        return np.clip(found, 0.0, 1.0)

    def scatter(self, name: str) -> float:
        """Standard deviation of single evaluations around the curve, on the scale of `_stretched`.

        From the second half of the records: each against the line through its neighbours, of which 1.5 times the
        variance is expected where they are evenly spaced; the median of absolute values, which bends do not lift.
        """
        found = self._stretched(name, self.curves[name])[len(self.steps) // 2 :]
        if len(found) < 3:
            return 0.0
        at = np.log(np.maximum(np.asarray(self.steps[len(self.steps) // 2 :], dtype=np.float64), 1.0))
        share = (at[1:-1] - at[:-2]) / np.maximum(at[2:] - at[:-2], _TINY)
        bends = found[1:-1] - ((1.0 - share) * found[:-2] + share * found[2:])
        return float(np.median(np.abs(bends)) / (0.6745 * np.sqrt(1.5)))

    def _lag_effect(self, name: str, places: Floats, own: Floats | None) -> Floats:
        """What another lag than the reference's adds, on the scale of `_stretched`."""
        if self.lag is None or own is None or name not in self.lag.quality:
            return np.zeros(places.shape)
        reference = np.interp(places, self.times, self.lag.lags(self.times[None], updates=(self.updates,))[0])
        lagging, usual = (self._stretched(name, self.lag.read(name, places, lags)) for lags in (own, reference))
        return lagging - usual

    def _in_logarithms(self, name: str) -> bool:
        """Whether effects on a curve add up in its logarithm: on losses that are above 0."""
        measured = [self.curves[name]]
        if self.lag is not None and name in self.lag.quality:
            measured.append(self.lag.quality[name])
        return not name.endswith("accuracy") and min(float(values.min()) for values in measured) > 0.0

    def _stretched(self, name: str, values: Floats) -> Floats:
        """On the scale on which effects add up."""
        return np.log(values) if self._in_logarithms(name) else values

    def _shrunk(self, name: str, values: Floats) -> Floats:
        """Back from that scale."""
        if name.endswith("accuracy"):
            return np.clip(values, 0.0, 1.0)
        return np.exp(values) if self._in_logarithms(name) else values


def _line(x: Floats, y: Floats) -> tuple[float, float]:
    """Slope of the least-squares line, and its standard error."""
    x, y = x - x.mean(), y - y.mean()
    spread = float(x @ x)
    slope = float(x @ y) / spread
    return slope, float(np.sqrt(np.sum((y - slope * x) ** 2) / (len(x) - 2) / spread))
