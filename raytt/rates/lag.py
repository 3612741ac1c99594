"""How far running statistics lag behind while a candidate walks along the reference's path.

Notation: saved points s = 0 … P−1 at learning-rate times τ_s, r*_s the statistics settled at their weights, r_pre those
of the pre-trained network, m the norms' momentum, G the Gram matrix of (r_pre, r*_0, …, r*_{P−1}).

Between points settled statistics are linear in τ. What a candidate is evaluated with after t steps is then a mixture
c of the P + 1 (`raytt.rates.norm_statistics`), of which its distance from the settled ones matters along the line to
the pre-trained ones,

    α = ⟨c − e(τ), e_pre − e(τ)⟩_G / ‖e_pre − e(τ)‖²_G      in [0, 1],

e(τ) the coefficients of what has settled at its place: the *lag*. It is 1 before the first step, and 0 when statistics
have caught up. How good the network is with statistics α r_pre + (1 − α) r*_s is measured at each saved point.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SHARES = (0.0, 1.0 / 3.0, 2.0 / 3.0, 1.0)
"""Lags α at which quality is measured."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LagTable:
    """Quality in eval mode at the saved points with running statistics that lag behind more or less."""

    times: Floats
    """τ_s, shape (P,)."""
    gram: Floats
    """G, shape (P + 1, P + 1), the pre-trained statistics first."""
    momentum: float
    """m; 0: a cumulative average."""
    quality: dict[str, Floats]
    """By curve ("val_loss", …), shape (P, `SHARES`)."""

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "times": self.times.tolist(),
            "gram": self.gram.tolist(),
            "momentum": self.momentum,
            "quality": {name: values.tolist() for name, values in self.quality.items()},
        }

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> LagTable:
        """What `to_json` gave."""
        return cls(
            times=np.asarray(stored["times"]),
            gram=np.asarray(stored["gram"]),
            momentum=stored["momentum"],
            quality={name: np.asarray(values) for name, values in stored["quality"].items()},
        )

    def lags(self, places: Floats, *, updates: Sequence[int] = (1,)) -> Floats:
        """α after 0 … T steps of M walks, shape ``(M, T + 1)`` as ``places`` (τ there).

        Args:
            places: τ after 0 … T steps.
            updates: Minibatches that the norms see per step, of each walk or of all.
        """
        settled, seen = self._settled(places), np.asarray(updates, dtype=np.float64)[:, None]
        pre = np.zeros(len(self.gram))
        pre[0] = 1.0
        mixture = np.broadcast_to(pre, (len(places), len(pre))).copy()
        found = np.empty(places.shape)
        found[:, 0] = self._share(mixture, settled[:, 0], pre)
        for step in range(1, places.shape[1]):
            # The minibatch of a step is seen with the weights before it.
            keep = (1.0 - self.momentum) ** seen if self.momentum else step / (step + 1.0)
            mixture = keep * mixture + (1.0 - keep) * settled[:, step - 1]
            found[:, step] = self._share(mixture, settled[:, step], pre)
        return found

    def read(self, name: str, places: Floats, lags: Floats) -> Floats:
        """Quality ``name`` at τ and α, bilinear between what was measured; any shape."""
        lower, share = _between(self.times, places)
        column, within = _between(np.asarray(SHARES), lags)
        table = self.quality[name]
        upper, right = np.minimum(lower + 1, len(table) - 1), np.minimum(column + 1, len(SHARES) - 1)
        early = (1.0 - within) * table[lower, column] + within * table[lower, right]
        late = (1.0 - within) * table[upper, column] + within * table[upper, right]
        return np.asarray((1.0 - share) * early + share * late)

    def _settled(self, places: Floats) -> Floats:
        """e(τ), shape ``(M, T + 1, P + 1)``."""
        lower, share = _between(self.times, places)
        found = np.zeros((*places.shape, len(self.gram)))
        upper = np.minimum(lower + 1, len(self.times) - 1)
        np.put_along_axis(found, (1 + lower)[..., None], (1.0 - share)[..., None], axis=-1)
        rest = np.take_along_axis(found, (1 + upper)[..., None], axis=-1)
        np.put_along_axis(found, (1 + upper)[..., None], rest + share[..., None], axis=-1)
        return found

    def _share(self, mixture: Floats, settled: Floats, pre: Floats) -> Floats:
        behind, line = mixture - settled, pre - settled
        weighted = line @ self.gram
        length = (weighted * line).sum(axis=-1)
        share = (weighted * behind).sum(axis=-1) / np.maximum(length, 1e-12)
        return np.asarray(np.clip(share, 0.0, 1.0))


def _between(knots: Floats, at: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Number of the knot before each place, and the share of the way to the next, in [0, 1]."""
    if len(knots) == 1:
        return np.zeros(at.shape, dtype=np.int64), np.zeros(at.shape)
    lower = np.clip(np.searchsorted(knots, at, side="right") - 1, 0, len(knots) - 2)
    return lower, np.clip((at - knots[lower]) / (knots[lower + 1] - knots[lower]), 0.0, 1.0)
