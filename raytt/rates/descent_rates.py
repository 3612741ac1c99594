"""Descent rates of an optimizer at one point, for one batch size.

*Few minibatches.* The preconditioner of an Adam-type optimizer is estimated from the same K minibatches as the products
that it scales: a minibatch with a large gradient shrinks its own product. For normal gradients with ḡ² ≪ s² the mean
of v̂ is v (1 − 5/(4K) + O(K⁻²)): + 3/(4K) because 1/√ is convex, − 2/K because of that correlation; where ḡ² ≫ s² there
is no bias. Hence v̂ is multiplied by 1 + `SMALL_SAMPLE` (n̂/(v̂ + n̂))/K, which leaves 1 to 2 % of 11 % at K = 8 (drawn
normal gradients of equal law in all coordinates, |ḡ|/s from 0.3 to 3). It would otherwise differ between batch sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from raytt.rates.gradients import GradientBlock
from raytt.rates.signal import Signal, block_products, estimate, moments
from raytt.task.candidate import Candidate
from raytt.task.optimizers import Adaptive

SMALL_SAMPLE = 1.25


def descent_rate(candidate: Candidate, blocks: Sequence[GradientBlock]) -> Signal:
    """v, n and their errors for the candidate's optimizer from minibatches of its batch size."""
    squared_mean, variance = moments(blocks)
    found = estimate(block_products(blocks, candidate.optimizer.descent_scale(squared_mean, variance)))
    total = found.rate + found.noise
    if not isinstance(candidate.optimizer, Adaptive) or total <= 0.0:
        return found
    # The mean of squares bounds the rate: the share is in [0, 1] but for chance.
    factor = 1.0 + SMALL_SAMPLE / found.minibatches * min(max(found.noise / total, 0.0), 1.0)
    return replace(found, rate=factor * found.rate, rate_error=factor * found.rate_error)
