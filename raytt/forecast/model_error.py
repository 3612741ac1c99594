"""The model error of a prediction along a reference run: the part of the interval that no simulation can estimate.

The natural logarithm of real over predicted steps is taken as normal with mean zero and the standard deviation

    σ² = WITHIN² + (BEYOND · d)² + (SMALL_BATCH · h)² + (NEAR_EDGE · e)² + (PART · p)² + (VALIDATION · v)²

d = ln(loss ratio at the reference run's end / at the target), at least 0: how far the forecast extrapolates;
h = log₂(batch size of the reference run / own), at least 0: how much more gradient noise it has;
e = peak learning rate over the stability limit at the sharpest tangent (`raytt.forecast.trust.PathTrust.edge`),
between `CALM` and `WILD`;
p = ln(N_full / N): how small a subset of the training samples was probed;
v = 1 where the target is on the validation set, whose curves follow the training loss less closely; else 0.

All coefficients but the last are fitted to real training runs of several tasks by
``python -m benchmarks.accuracy.spread``, which also leaves each task out in turn and reports the coverage of its runs.
`VALIDATION` is chosen so that intervals hold 90 % of the digits runs' arrivals at a validation accuracy
(``python -m benchmarks.accuracy.validation``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

WITHIN = 0.11
BEYOND = 0.07
SMALL_BATCH = 0.07
NEAR_EDGE = 0.46
PART = 0.2
VALIDATION = 0.22
CALM = 0.5
"""Share of the stability limit up to which a learning rate makes no difference. Hardly matters: intervals of SGD on
diabetes hold 94 % of the runs with it and with 0.25, 93 % with 1 (``python -m benchmarks.constants``, 2026-11-29)."""
WILD = 1.5
"""Share of it beyond which the error grows no further: past the edge of stability runs are unpredictable, within
bounds. Hardly matters: coverage on diabetes is the same with half and with double."""


@dataclass(frozen=True, kw_only=True)
class Regime:
    """What the model error depends on."""

    depth: float
    """d ≥ 0."""
    halvings: float
    """h ≥ 0."""
    edge: float
    """Peak learning rate over the stability limit, ≥ 0."""
    part: float = 0.0
    """p ≥ 0."""

    def terms(self) -> tuple[float, float, float, float, float]:
        """What WITHIN, BEYOND, SMALL_BATCH, NEAR_EDGE and PART are multiplied by."""
        return 1.0, self.depth, self.halvings, max(0.0, min(self.edge, WILD) - CALM), self.part


def model_spread(regime: Regime, *, validation: bool = False) -> float:
    """σ of ln(real / predicted steps); ``validation``: v = 1."""
    constants = (WITHIN, BEYOND, SMALL_BATCH, NEAR_EDGE, PART)
    known = (c * term for c, term in zip(constants, regime.terms(), strict=True))
    return math.hypot(*known, VALIDATION if validation else 0.0)
