"""How much less high learning rates make of their steps than descent rates say, along the path of a reference run.

Notation: η effective learning rate of a step, η_ref the reference run's, p ≥ 0 the power: progress is multiplied with
(η/η_ref)^−p.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEAST_SHARE = 0.1
"""η/η_ref below which slowing stays as it is: the end of a schedule and the begin of a warm-up are no learning rates to
speak of."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Slowing:
    """The power p, the same everywhere, or measured on each stretch of the path between the reference run and another.

    Measured powers hold for steps of more weight than the reference's, and for those of less, too, if the other run's
    learning rate was lower.
    """

    usual: float
    """p where nothing else is known."""
    ends: Floats = field(default_factory=lambda: np.empty(0))
    """τ_ref at which stretches end, shape (K,), increasing; the last one goes on."""
    powers: Floats = field(default_factory=lambda: np.empty(0))
    """p on each, shape (K,)."""
    measured_at: float = 1.0
    """η/η_ref of the run that they were measured with."""

    def extrapolated(self, weight: float) -> float:
        """The factor by which steps of more weight than those of both runs are taken to be slower, at most."""
        return float(max(1.0, weight / max(1.0, self.measured_at)) ** self.powers.max(initial=0.0))

    def factor(self, shares: Floats, loads: Floats, places: Floats) -> Floats:
        """What the progress of steps is multiplied with.

        Args:
            shares: η/η_ref, shape (M,).
            loads: m_B/m_{B_ref}, shape (M,).
            places: τ_ref where the steps are taken, shape (M,).
        """
        found = np.maximum(shares, LEAST_SHARE) ** -self.usual
        if len(self.powers):
            stretch = np.minimum(np.searchsorted(self.ends, places, side="right"), len(self.powers) - 1)
            weight = np.maximum(shares * loads, LEAST_SHARE)
            known = (weight > 1.0) | (self.measured_at < 1.0)
            found = np.where(known, weight ** -self.powers[stretch], found)
        return np.asarray(found)
