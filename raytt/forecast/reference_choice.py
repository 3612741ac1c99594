"""Which configuration runs as the reference of an optimizer family.

It need not be a candidate: it should walk the path that candidates walk, at a pace of theirs, and be itself smooth
enough that its weights and its curve mean something. With heavy-ball momentum an effective learning rate lr/(1 − μ) is
stable far beyond where plain SGD is (limit 2(1 + μ)/λ_max against 2/λ_max for lr), so that the reference of SGD runs
with momentum whatever the candidates do: measured on the digits example, a reference with lr 0.0006 and momentum 0.9 is
reproduced by its own tangents to 3 %, while plain SGD at half its effective learning rate is at the edge of stability
and is off by 15 %.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from raytt.task.candidate import Candidate

SGD_MOMENTUM = 0.9
SAFE_SHARE = 0.25
"""Share of plain SGD's stability limit at the pre-trained weights up to which effective learning rates are looked at:
those beyond would not survive the growth of curvature."""


def reference_candidate(candidates: Sequence[Candidate], *, stability_limit: float) -> Candidate:
    """The reference of candidates that share an optimizer.

    Batch size: the median of theirs. Learning rate: the (logarithmic) median of their effective ones, for sgd of those
    within `SAFE_SHARE` of the stability limit; the run itself lowers or raises it where it does not suit.

    Args:
        candidates: Of one optimizer family.
        stability_limit: Of plain SGD at the pre-trained weights, +inf where unknown.
    """
    family = candidates[0].optimizer
    sizes = sorted(c.batch_size for c in candidates)
    batch_size = sizes[len(sizes) // 2]
    if family == "adamw":
        lr = math.exp(float(np.median([math.log(c.lr) for c in candidates])))
        betas = sorted(c.betas for c in candidates)[len(candidates) // 2]
        return Candidate(optimizer=family, lr=lr, betas=betas, eps=candidates[0].eps, batch_size=batch_size)
    most = SAFE_SHARE * stability_limit
    rates = [effective_lr(c) for c in candidates]
    within = [rate for rate in rates if rate <= most] or [min(most, min(rates))]
    lr = math.exp(float(np.median(np.log(within)))) * (1.0 - SGD_MOMENTUM)
    return Candidate(lr=lr, momentum=SGD_MOMENTUM, batch_size=batch_size)


def effective_lr(candidate: Candidate) -> float:
    """Lr / (1 − μ): what a long sum of equal gradients is multiplied by per step."""
    return candidate.lr / (1.0 - candidate.momentum)
