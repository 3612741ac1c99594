"""Quality in eval mode (validation loss, accuracies) as a function of where a candidate is on the reference's path.

The reference run is evaluated every so often: Q_ref(τ), between records linear in τ, losses in their logarithm. A
candidate at the same place has the same weights, so far as descent rates hold, and hence the same quality,

    Q(t) = Q_ref(τ_t),

unless running statistics of batch norms lag behind it by another amount than behind the reference. With a table of
quality over place and lag (`raytt.rates.lag.LagTable`, S(τ, α)) the difference is taken from there,

    ln Q(t) = ln Q_ref(τ_t) + ln S(τ_t, α_t) − ln S(τ_t, α_ref(τ_t)),

and likewise for accuracies, without logarithms and kept in [0, 1], and for losses that may be negative. The reference
is its own control variate: its predicted curve is its measured one. Beyond the reference's end quality stays as it was
there: nothing is known of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raytt.rates.lag import LagTable

Floats = NDArray[np.float64]


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
