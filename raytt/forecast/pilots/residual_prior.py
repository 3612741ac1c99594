"""How residuals of a prediction are expected to vary over hyperparameters, before any pilot has run.

Notation: y = ln(real/predicted) learning-rate time to a depth d = ln(initial loss / loss) ≥ 0 of a candidate with
features x: ln of the effective learning rate, ln B, ln(1 − μ), the warm-up's share of the budget.

    cov(y, y') = a² [ o² + (s² exp(−½ Σ ((x_j − x'_j)/ℓ_j)²) + i² 1{same candidate}) exp(−|d − d'|/ℓ_d) ]

* o: what all candidates of a family have in common, such as a reference run that was lucky.
* s: what changes smoothly with hyperparameters, among candidates of one model. i: what is a candidate's own, such as
  its minibatches.
* The Ornstein–Uhlenbeck factor in depth makes a residual below the deepest level that a pilot reached the one at that
  level, drawn towards the common offset, with a variance that grows with the distance.
* a: one amplitude for all, see `raytt.forecast.pilots.residual_process`.

Families of optimizers have reference runs of their own, hence processes of their own. Candidates of one optimizer that
differ in arguments of the model, each with a reference run of its own, have o in common and nothing more: that they
learn alike is not taken for granted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raytt.task.candidate import Candidate

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LENGTHS = (1.4, 2.5, 3.0, 0.5)
"""ℓ_j of ln lr, ln B, ln(1 − μ) and the share of warm-up: with the deviations below the most likely ones for 64
recorded runs of two networks with two optimizers, and nearly so with each of the four left out: 1.3–1.45, 2.4–3.3,
2.3–4.3, 0.5 (``python -m benchmarks.rates.pilots``, 2026-11-29)."""
DEPTH_LENGTH = 1.5
"""ℓ_d, in ln of the loss. The most likely value was 2.8–3.3, but residuals far above the target then led astray."""


@dataclass(frozen=True, kw_only=True)
class ResidualPrior:
    """Standard deviations of ln(real/predicted), before the amplitude is known."""

    common: float
    """o."""
    smooth: float
    """s."""
    own: float
    """i."""

    @property
    def spread(self) -> float:
        """Of a candidate's residual."""
        return math.hypot(self.common, self.smooth, self.own)


RATES = ResidualPrior(common=0.065, smooth=0.135, own=0.08)
"""Of predictions from descent rates. o and s fitted as `LENGTHS` was: 0.06–0.07, 0.12–0.14. i, fitted 0.02–0.03, is set
so that 90 % intervals of those that are no pilots hold what they say."""
TIME_ALONE = ResidualPrior(common=0.19, smooth=0.42, own=0.08)
"""Of the reference run's learning-rate time alone; o and s fitted 0.12–0.19, 0.34–0.44."""


def features(candidate: Candidate, budget: int) -> Floats:
    """x, shape (4,)."""
    momentum_share = candidate.lr / candidate.effective_lr
    warm = min(1.0, candidate.warmup(budget) / budget)
    return np.array([math.log(candidate.effective_lr), math.log(candidate.batch_size), math.log(momentum_share), warm])


@dataclass(frozen=True, kw_only=True, eq=False)
class Places:
    """Where residuals are: n pairs of a candidate and a depth."""

    features: Floats
    """x, shape (n, 4)."""
    depths: Floats
    """d, shape (n,)."""
    candidates: Ints
    """Number of the candidate, shape (n,)."""
    models: Ints
    """Number of the arguments of its model, shape (n,)."""

    @classmethod
    def of(cls, rows: Sequence[tuple[int, Floats, float]], models: Sequence[int] | None = None) -> Places:
        """From number of the candidate, features and depth of each; ``models``: see there, None: all the same."""
        return cls(
            features=np.array([x for _, x, _ in rows], dtype=np.float64).reshape(len(rows), len(LENGTHS)),
            depths=np.array([d for _, _, d in rows], dtype=np.float64),
            candidates=np.array([c for c, _, _ in rows], dtype=np.int64),
            models=np.zeros(len(rows), dtype=np.int64) if models is None else np.asarray(models, dtype=np.int64),
        )


def covariance(prior: ResidualPrior, a: Places, b: Places) -> Floats:
    """The formula above with a = 1, shape (n_a, n_b)."""
    scaled = (a.features[:, None, :] - b.features[None, :, :]) / np.asarray(LENGTHS)
    smooth = prior.smooth**2 * np.exp(-0.5 * np.square(scaled).sum(axis=2)) * (a.models[:, None] == b.models[None, :])
    own = prior.own**2 * (a.candidates[:, None] == b.candidates[None, :])
    fading = np.exp(-np.abs(a.depths[:, None] - b.depths[None, :]) / DEPTH_LENGTH)
    return np.asarray(prior.common**2 + (smooth + own) * fading)
