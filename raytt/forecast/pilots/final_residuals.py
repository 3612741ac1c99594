"""Errors of predicted final qualities, learned from pilots that were trained to the ends of their budgets.

Notation: e_i = u_real − u_predicted of candidate i on the scale u on which errors add up (module
`raytt.forecast.final_quality`), σ_i the standard deviation of its prediction, x_i its features (module
`raytt.forecast.pilots.residual_prior`). Before any pilot

    e ~ N(0, D R D),    D = diag(σ),    R_ij = c + s exp(−½ Σ_k ((x_ik − x_jk)/ℓ_k)²) + o 1{i = j},    c + s + o = 1

within a family of optimizers, 0 between families, which have reference runs of their own. So an interval says how wrong
a prediction may be, and a pilot that was wrong by one of its standard deviations lets expect that candidates like it
are wrong by a share of theirs: those whose budgets end far beyond the reference run by more than others. Pilots give
e_i up to a standard error; the posterior is exact (`raytt.forecast.pilots.gaussian_process`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from raytt.forecast.pilots.gaussian_process import GaussianProcess
from raytt.forecast.pilots.residual_prior import Places, ResidualPrior, covariance, features
from raytt.task.candidate import Candidate

Floats = NDArray[np.float64]

SHARES = ResidualPrior(common=math.sqrt(0.3), smooth=math.sqrt(0.5), own=math.sqrt(0.2))
"""√c, √s, √o: as the residuals of steps are correlated, but for a greater common share, because what is wrong beyond
the end of a reference run is wrong for all that go there. A judgement."""
NOISE = 0.3
"""Standard error of a pilot's final quality over its σ: another seed ends elsewhere."""


def learned(
    budgets: Mapping[Candidate, int], spreads: Mapping[Candidate, float], errors: Mapping[Candidate, float]
) -> tuple[Sequence[Candidate], Floats, Floats]:
    """Candidates in an order, posterior mean (m,) and covariance (m, m) of their errors.

    Args:
        budgets: Steps of all candidates.
        spreads: σ of each.
        errors: e of the pilots, which are among them.
    """
    order = sorted(budgets, key=Candidate.sort_key)
    mean, total = np.zeros(len(order)), np.zeros((len(order), len(order)))
    for family in sorted({c.optimizer.name for c in order}):
        rows = [row for row, c in enumerate(order) if c.optimizer.name == family]
        places = Places.of([(row, features(order[row], budgets[order[row]]), 0.0) for row in rows])
        scale = np.array([spreads[order[row]] for row in rows])
        prior = covariance(SHARES, places, places) * np.outer(scale, scale)
        known = [k for k, row in enumerate(rows) if order[row] in errors]
        process = GaussianProcess(
            covariance=prior[np.ix_(known, known)],
            noise=NOISE * scale[known],
            values=np.array([errors[order[rows[k]]] for k in known]),
        )
        mean[rows], total[np.ix_(rows, rows)] = process.posterior(prior[:, known], prior)
    return order, mean, total
