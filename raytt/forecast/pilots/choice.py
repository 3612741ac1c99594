"""Which candidates to train as pilots: the knowledge gradient per cost.

Notation: candidate i costs exp(z_i), z ~ N(m, V) by what is known so far; M_i = E exp(z_i) = exp(m_i + V_ii/2). Without
a further pilot the candidate with the least M is taken first. A pilot of j tells z_j up to noise s; then

    z_i | pilot   ~ N(m_i + g_i u, V_ii − g_i²),    g_i = V_ij / √(V_jj + s²),    u ~ N(0, 1)

and the first choice is expected to cost E_u min_i E[exp(z_i) | u]. What the pilot saves of it, min_i M_i less that, is
the expected fall of the regret of the first choice: what the best possible choice costs is the same before and after.
The candidate that saves most per cost of its pilot is next. The expectation over u is a sum over fixed quantiles.

Several pilots at a time: after one is chosen, its result is taken to be as expected (m stays, V becomes smaller), and
the next is chosen (kriging believer). So a round depends on its size and on nothing that runs in parallel.

Sources: Frazier, Powell, Dayanik 2009, *The knowledge-gradient policy for correlated normal beliefs*; Ginsbourger, Le
Riche, Carraro 2010, *Kriging is well-suited to parallelize optimization*.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

Floats = NDArray[np.float64]

QUANTILES = ndtri((np.arange(256) + 0.5) / 256)
"""u."""
PLAUSIBLE = 2.0
"""Standard deviations by which a candidate's cost may be off when it is asked whether it could be the best."""
_ROUNDING = 1e-12
_SEED, _DRAWS = 0, 4096
NOISE = 0.05
"""Standard error of ln of the steps of a pilot that reaches the target."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Beliefs:
    """What is known of the cost of m candidates."""

    mean: Floats
    """m of ln of the cost, shape (m,)."""
    covariance: Floats
    """V, shape (m, m)."""

    def expected(self) -> Floats:
        """M, shape (m,)."""
        return np.asarray(np.exp(self.mean + 0.5 * np.diag(self.covariance)))

    def after(self, j: int) -> Beliefs:
        """Once the pilot of j has given what was expected."""
        gain = self.covariance[:, j] / np.sqrt(self.covariance[j, j] + NOISE**2)
        return Beliefs(mean=self.mean, covariance=self.covariance - np.outer(gain, gain))

    def savings(self, j: int) -> float:
        """Expected fall of the regret of the first choice by a pilot of j, in units of cost; ≥ 0."""
        gain = self.covariance[:, j] / np.sqrt(self.covariance[j, j] + NOISE**2)
        left = np.diag(self.covariance) - np.square(gain)
        costs = np.exp(self.mean[:, None] + gain[:, None] * QUANTILES + 0.5 * left[:, None])
        # Averages over the same quantiles, so that a pilot that changes no choice saves nothing but rounding.
        now = float(costs.mean(axis=1).min())
        saved = now - float(costs.min(axis=0).mean())
        return saved if saved > _ROUNDING * now else 0.0

    def worth(self, j: int, able: NDArray[np.bool_], cost: float) -> tuple[float, float]:
        """Savings of a pilot of j, and by how much it lowers the sum of variances of those in ``able``, per cost."""
        lowered = np.diag(self.covariance) - np.diag(self.after(j).covariance)
        return self.savings(j) / cost, float(lowered[able].sum()) / cost

    def regret(self) -> float:
        """Expected regret of the first choice, as a share of its expected cost: 1 − E min_i exp(z_i) / min_i M_i.

        A mean over draws of a fixed seed, of the candidates that could be the best.
        """
        able = np.flatnonzero(self.could_be_best())
        values, vectors = np.linalg.eigh(self.covariance[np.ix_(able, able)])
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        draws = np.random.default_rng(_SEED).standard_normal((_DRAWS // 2, len(able)))
        z = self.mean[able] + np.concatenate([draws, -draws]) @ root.T
        costs = np.exp(z)
        # Of the same draws, so that their common error cancels.
        return max(0.0, 1.0 - float(costs.min(axis=1).mean() / costs.mean(axis=0).min()))

    def could_be_best(self) -> NDArray[np.bool_]:
        """Whether the low end of its cost is below the median of the best, shape (m,)."""
        spread = np.sqrt(np.maximum(np.diag(self.covariance), 0.0))
        return np.asarray(self.mean - PLAUSIBLE * spread <= self.mean.min())


def choose_pilots(beliefs: Beliefs, costs: Floats, *, count: int, done: Collection[int] = ()) -> list[int]:
    """Numbers of the candidates of the next round, ``count`` or as many as are left.

    They are taken from those that could be the best, as long as there are any. Where pilots save nothing, they go by
    the greatest fall, per cost, of the variances of ln cost: of those that could be the best, or of all once none of
    these is left.

    Args:
        beliefs: About all candidates, in a canonical order.
        costs: Of a pilot of each, shape (m,), positive, in any unit.
        count: Size of the round.
        done: Numbers of those that were pilots already.
    """
    chosen: list[int] = []
    while len(chosen) < count:
        left = np.array([j not in done and j not in chosen for j in range(len(costs))])
        if not left.any():
            break
        able = beliefs.could_be_best()
        if not (able & left).any():
            able = np.ones_like(able)
        worth = {int(j): beliefs.worth(int(j), able, float(costs[j])) for j in np.flatnonzero(able & left)}
        best = max(worth, key=lambda j: (worth[j], -j))
        chosen.append(best)
        beliefs = beliefs.after(best)
    return chosen
