"""When a prediction is trusted: the edge of stability along the reference run (Cohen et al. 2021, arXiv 2103.00065),
and other reasons for doubt, as sentences.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raytt.forecast.crossing import PathCurves
from raytt.forecast.model_error import Regime
from raytt.task.candidate import Candidate

Floats = NDArray[np.float64]

_TINY = 1e-12

TRUSTED_PASSES = 20.0
"""Passes over a probed subset up to which its simulated curves stand for the whole training set: after more the
simulation overfits the subset."""
SPIKE = 2.0
"""Peak loss over the initial loss beyond which the simulation is not trusted: the linearized network recovers, a real
one may not. (A small tanh network really trained at 28 settings: the 7 whose simulated loss rose above twice its start
all ended above their start, of the other 21 one.)"""
EDGE_SHARE = 0.2
"""Without a reference run: share of the stability limit at the pre-trained weights up to which a peak learning rate is
trusted. Curvature grows during training (progressive sharpening), so that real training becomes unstable well below
that limit: of the digits example, runs at up to 0.2 of it trained, those at 0.23 and 0.3 diverged or collapsed."""
LOST = 8.0
"""With a reference run: peak learning rate over the stability limit at the sharpest tangent, beyond which a run does
not recover: of the digits and diabetes tasks of the record, 14 of 16 runs of SGD between its
`raytt.task.optimizers.Optimizer.trusted_share`, 1.5, and this got to 0.1 of their initial loss, of 5 beyond it none did
(`benchmarks.accuracy`)."""
EDGE_EFFECTIVE = 20.0
"""Effective rate lr/(1 − μ) over plain SGD's limit beyond which runs with momentum are unpredictable: of the record,
runs up to 12 (diabetes) trained, those at 23 (digits and fortunes) and 29 (docstrings) collapsed; on the digits
example, beside a deeper and sharper reference run, some trained at 20 to 40 (``python -m
benchmarks.momentum_edge``)."""
LOST_EFFECTIVE = 40.0
"""Effective rate lr/(1 − μ) over plain SGD's limit beyond which runs with momentum fail. There is no sharp bound:
on the digits example real runs with momentum 0.9 and 0.95 trained at 15 to 30 times, one of two at 40, none at 60
(``python -m benchmarks.momentum_edge``); of the record, one at 68 (digits) collapsed. Below it such runs are untrusted,
not called unstable."""
FAR_RATIO = 3.0
"""A target this many times below the loss at which the reference run stopped is far beyond it: on diabetes the median
error (90th percentile) of such predictions was 13 (41) %, that of the others 5 (23) %; with 1.5 instead of 3 8 (32) and
5 (33), with 6 17 (48) and 5 (23) (``python -m benchmarks.constants --sections far``, 2026-11-29)."""


@dataclass(frozen=True, kw_only=True)
class PathTrust:
    """The range in which predictions along a reference run are trusted."""

    sharpness: float
    """Largest λ_max of the loss curvature over the tangents, in the coordinates in which the optimizer steps."""
    last_ratio: float
    """Loss ratio at which the reference run stopped."""
    batch_size: int
    """Samples per step of the reference run."""
    part: float = 0.0
    """ln(N_full / N) of the samples probed."""
    features_move: bool = True
    """Whether the tangents differ; they do not where the outputs are linear in the trained weights."""

    def edge(self, candidate: Candidate) -> float:
        """Peak learning rate over the optimizer's stability limit; 1 is the edge."""
        return candidate.optimizer.stability_share(candidate.lr, self.sharpness)

    def regime(self, candidate: Candidate, ratio: float) -> Regime:
        """The regime that decides a candidate's model error when its loss is ``ratio`` times the initial one."""
        return Regime(
            depth=max(0.0, math.log(self.last_ratio / max(ratio, _TINY))),
            halvings=max(0.0, math.log2(self.batch_size / candidate.samples_per_step)),
            edge=self.edge(candidate),
            part=self.part,
        )

    def lost(self, candidate: Candidate) -> bool:
        """Whether a candidate is so far beyond the edge of stability that it will not recover."""
        return self.effective(candidate) > LOST_EFFECTIVE or self.edge(candidate) > LOST

    def why_lost(self, candidate: Candidate) -> str:
        """The reason for that in words."""
        edge, effective = self.edge(candidate), self.effective(candidate)
        return momentum_words(effective) if edge <= LOST else edge_words(edge)

    def effective(self, candidate: Candidate) -> float:
        """Effective learning rate lr/(1 − μ) over plain SGD's stability limit; 0 without momentum.

        It is 0 for a moving average of gradients too, which delays them but does not add them up.
        """
        if candidate.effective_lr == candidate.lr:
            return 0.0
        return candidate.effective_lr * self.sharpness / 2.0


def doubts_of(
    paths: PathCurves,
    crossings: Floats,
    *,
    candidate: Candidate,
    passes: float,
    stability_share: float,
    trust: PathTrust | None,
) -> tuple[list[str], list[str]]:
    """Reasons not to trust a forecast (grave), and reasons to trust it less (slight)."""
    grave: list[str] = []
    slight: list[str] = []
    if passes > TRUSTED_PASSES:
        grave.append(f"takes {passes:.0f} passes over the probed samples, which the simulation overfits by then")
    finite = np.isfinite(crossings)
    if float(np.median(paths.peaks(crossings)[finite])) > SPIKE:
        grave.append(f"its loss rises above {SPIKE:g} times its start on the way")
    if trust is None:
        if stability_share > EDGE_SHARE:
            grave.append(f"learning rate at {stability_share:.0%} of the stability limit at the pre-trained weights")
        return grave, slight
    edge = trust.edge(candidate)
    if edge > candidate.optimizer.trusted_share:
        grave.append(edge_words(edge))
    elif trust.effective(candidate) > EDGE_EFFECTIVE:
        grave.append(momentum_words(trust.effective(candidate)))
    ratio = paths.loss_ratio(crossings)
    if ratio * FAR_RATIO < trust.last_ratio:
        slight.append(f"far below the {trust.last_ratio:.2f} of the initial loss at which the reference run stopped")
    if 2 * candidate.samples_per_step < trust.batch_size:
        slight.append(f"batches much smaller than the reference run's {trust.batch_size}")
    return grave, slight


def momentum_words(effective: float) -> str:
    return f"effective learning rate with momentum {effective:.0f} times plain SGD's limit along the reference run"


def edge_words(edge: float) -> str:
    return f"learning rate {edge:.2g} times the edge of stability along the reference run"
