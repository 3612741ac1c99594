"""When a prediction can be trusted: the edge of stability along the reference run, and other doubts in plain words."""

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
"""Passes over the probed samples up to which curves can be carried over to a larger training set
(`raytt.forecast.full_dataset`)."""
SPIKE = 2.0
"""Rise of the loss over its start beyond which the linearized network is not to be trusted: it comes back, a real one
may not. (A small tanh network really trained at 28 settings: the 7 whose simulated loss rose above twice its start all
ended above their start, of the other 21 one.)"""
EDGE_SHARE = 0.2
"""Without a reference run: share of the stability limit at the pre-trained weights up to which a peak learning rate is
trusted. Curvature grows as features move, so that real training leaves the stable range well below that limit: of the
digits example, runs at up to 0.2 of it trained, those at 0.23 and 0.3 diverged or collapsed."""
EDGE = 1.5
"""With a reference run: peak learning rate over the stability limit at the sharpest tangent, beyond which a run is at
the edge of stability: it may train, but when it reaches a loss is a matter of luck."""
ADAMW_EDGE = 0.4
"""The same for AdamW, whose first steps are wilder than its settled preconditioner tells: every weight moves by the
whole learning rate, and features may change several-fold before the first tangent. Of the record, digits at 0.9 took
3.4 times the predicted steps to 0.1 of the initial loss, ten classes of Fashion-MNIST at 0.42 nine times those to 0.2;
digits at 0.6 took what was predicted."""
LOST = 8.0
"""The same ratio beyond which a run leaves for good: of the digits and diabetes tasks of the record, 14 of 16 runs
between `EDGE` and this got to 0.1 of their initial loss, of 5 beyond it none did (`benchmarks.accuracy`)."""
EDGE_EFFECTIVE = 20.0
"""Effective rate lr/(1 − μ) over plain SGD's limit beyond which momentum is a matter of luck: of the record, runs up to
12 (diabetes) trained, those at 23 (digits and fortunes) and 29 (docstrings) collapsed; on the digits example, beside a
deeper and sharper reference run, some trained at 20 to 40 (``python -m benchmarks.momentum_edge``)."""
LOST_EFFECTIVE = 40.0
"""Effective rate lr/(1 − μ) over plain SGD's limit beyond which momentum does not help either. There is no sharp bound:
on the digits example real runs with momentum 0.9 and 0.95 trained at 15 to 30 times, one of two at 40, none at 60
(``python -m benchmarks.momentum_edge``); of the record, one at 68 (digits) collapsed. Below it such runs are untrusted,
not called unstable."""
FAR_RATIO = 3.0
"""A target this many times below the loss at which the reference run stopped is far beyond it."""


@dataclass(frozen=True, kw_only=True)
class PathTrust:
    """What a reference run says about where predictions along its path can be trusted."""

    sharpness: float
    """Largest λ_max of the loss curvature over the tangents, in the coordinates in which the optimizer steps."""
    last_ratio: float
    """Loss ratio at which the reference run stopped."""
    batch_size: int
    """Of the reference run."""
    part: float = 0.0
    """ln(N_full / N) of the samples probed."""
    features_move: bool = True
    """Whether the tangents differ; not where the outputs are linear in what is trained."""

    def edge(self, candidate: Candidate) -> float:
        """Peak learning rate over the stability limit; 1 is the edge.

        The limit of sgd is 2(1 + μ)/λ_max, in Nesterov's form that over 1 + 2μ (`raytt.dynamics.kernel.statistics`).
        AdamW is a heavy ball with rate lr (1 − β₁) and momentum β₁ in coordinates scaled by its preconditioner: its
        limit is 2(1 + β₁)/((1 − β₁) λ_max) (Cohen et al. 2022, arXiv 2207.14484).
        """
        if candidate.optimizer == "adamw":
            beta = candidate.betas[0]
            return candidate.lr * (1.0 - beta) / (1.0 + beta) * self.sharpness / 2.0
        ahead = 1.0 + 2.0 * candidate.momentum * candidate.nesterov
        return candidate.lr * self.sharpness / 2.0 / (1.0 + candidate.momentum) * ahead

    def regime(self, candidate: Candidate, ratio: float) -> Regime:
        """What a candidate's error depends on when its loss is ``ratio`` times the initial one."""
        return Regime(
            depth=max(0.0, math.log(self.last_ratio / max(ratio, _TINY))),
            halvings=max(0.0, math.log2(self.batch_size / candidate.batch_size)),
            edge=self.edge(candidate),
            part=self.part,
        )

    def lost(self, candidate: Candidate) -> bool:
        """Whether a candidate is so far over the edge that it will not come back."""
        return self.effective(candidate) > LOST_EFFECTIVE or self.edge(candidate) > LOST

    def why_lost(self, candidate: Candidate) -> str:
        """The reason for that in words."""
        edge, effective = self.edge(candidate), self.effective(candidate)
        return momentum_words(effective) if edge <= LOST else edge_words(edge)

    def effective(self, candidate: Candidate) -> float:
        """What momentum makes of the learning rate, lr/(1 − μ), over plain SGD's limit; 0 for others."""
        if candidate.optimizer != "sgd" or candidate.momentum == 0.0:
            return 0.0
        return candidate.lr / (1.0 - candidate.momentum) * self.sharpness / 2.0


def doubts_of(
    paths: PathCurves,
    crossings: Floats,
    *,
    candidate: Candidate,
    passes: float,
    stability_share: float,
    trust: PathTrust | None,
) -> tuple[list[str], list[str]]:
    """Reasons not to trust a forecast at all, and reasons to trust it less."""
    grave: list[str] = []
    slight: list[str] = []
    if passes > TRUSTED_PASSES:
        grave.append(f"takes {passes:.0f} passes over the probed samples, which are learned by heart by then")
    finite = np.isfinite(crossings)
    if float(np.median(paths.peaks(crossings)[finite])) > SPIKE:
        grave.append(f"its loss rises above {SPIKE:g} times its start on the way")
    if trust is None:
        if stability_share > EDGE_SHARE:
            grave.append(f"learning rate at {stability_share:.0%} of the stability limit at the pre-trained weights")
        return grave, slight
    edge = trust.edge(candidate)
    if edge > (ADAMW_EDGE if candidate.optimizer == "adamw" else EDGE):
        grave.append(edge_words(edge))
    elif trust.effective(candidate) > EDGE_EFFECTIVE:
        grave.append(momentum_words(trust.effective(candidate)))
    ratio = paths.loss_ratio(crossings)
    if ratio * FAR_RATIO < trust.last_ratio:
        slight.append(f"far below the {trust.last_ratio:.2f} of the initial loss at which the reference run stopped")
    if 2 * candidate.batch_size < trust.batch_size:
        slight.append(f"batches much smaller than the reference run's {trust.batch_size}")
    return grave, slight


def momentum_words(effective: float) -> str:
    return f"momentum takes its learning rate to {effective:.0f} times what plain SGD stands along the reference run"


def edge_words(edge: float) -> str:
    return f"learning rate {edge:.2g} times the edge of stability along the reference run"
