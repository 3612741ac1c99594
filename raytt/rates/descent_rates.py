"""Descent rates of an optimizer at one point, for one batch size.

*Few minibatches.* The preconditioner of an Adam-type optimizer is estimated from the same K minibatches as the products
that it scales: a minibatch with a large gradient shrinks its own product. For normal gradients with ḡ² ≪ s² the mean
of v̂ is v (1 − 5/(4K) + O(K⁻²)): + 3/(4K) because 1/√ is convex, − 2/K because of that correlation; where ḡ² ≫ s² there
is no bias. Hence v̂ is multiplied by 1 + `SMALL_SAMPLE` (n̂/(v̂ + n̂))/K, which leaves 1 to 2 % of 11 % at K = 8 (drawn
normal gradients of equal law in all coordinates, |ḡ|/s from 0.3 to 3). It would otherwise differ between batch sizes.

Lion's scale depends on ḡ²/s² itself, where that is small: it is taken from every other block for the blocks between.
Adafactor's second moments are means over rows and columns of a matrix, of which a single product is a small part: it
needs neither.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from raytt.rates.gradients import GradientBlock
from raytt.rates.signal import Signal, block_products, estimate, moments
from raytt.task.candidate import Candidate
from raytt.task.optimizers import Adaptive, Lion, WeightTensor

SMALL_SAMPLE = 1.25


def descent_rate(
    candidate: Candidate,
    blocks: Sequence[GradientBlock],
    lr_scales: Tensor | None = None,
    decayed: Tensor | None = None,
    tensors: Sequence[WeightTensor] = (),
) -> Signal:
    """v, n and their errors for the candidate's optimizer from minibatches of its batch size.

    Args:
        candidate: Whose optimizer scales gradients.
        blocks: Of minibatches of one point.
        lr_scales: What the learning rate of each weight is multiplied with, shape ``(D,)``; None: 1.
        decayed: The weights that decay, others as 0, times those factors, shape ``(D,)``; None: all 0.
        tensors: Of the network at that point, in the order of the gradients' coordinates; Adafactor needs them.
    """
    if isinstance(candidate.optimizer, Lion) and len(blocks) > 1:
        halves = blocks[::2], blocks[1::2]
        found = _mean(*(_estimated(candidate, own, other, lr_scales, tensors) for own, other in (halves, halves[::-1])))
    else:
        found = _estimated(candidate, blocks, blocks, lr_scales, tensors)
    found = replace(
        found,
        norms=tuple(norm for block in blocks for norm in block.norms),
        pull=_pull(blocks, decayed),
        loss=sum(block.count * block.loss for block in blocks) / sum(block.count for block in blocks),
    )
    total = found.rate + found.noise
    if not isinstance(candidate.optimizer, Adaptive) or total <= 0.0:
        return found
    # The mean of squares bounds the rate: the share is in [0, 1] but for chance.
    factor = 1.0 + SMALL_SAMPLE / found.minibatches * min(max(found.noise / total, 0.0), 1.0)
    return replace(found, rate=factor * found.rate, rate_error=factor * found.rate_error)


def _estimated(
    candidate: Candidate,
    blocks: Sequence[GradientBlock],
    scaled_by: Sequence[GradientBlock],
    lr_scales: Tensor | None,
    tensors: Sequence[WeightTensor],
) -> Signal:
    """v, n and their errors of some blocks, with the scale that others give."""
    scale = candidate.optimizer.descent_scale(*moments(scaled_by), tensors)
    if lr_scales is not None:
        scale = lr_scales if scale is None else scale * lr_scales
    return estimate(block_products(blocks, scale))


def _mean(one: Signal, other: Signal) -> Signal:
    """Of two independent measurements."""
    return Signal(
        rate=(one.rate + other.rate) / 2.0,
        noise=(one.noise + other.noise) / 2.0,
        rate_error=math.hypot(one.rate_error, other.rate_error) / 2.0,
        noise_error=math.hypot(one.noise_error, other.noise_error) / 2.0,
        minibatches=one.minibatches + other.minibatches,
    )


def _pull(blocks: Sequence[GradientBlock], decayed: Tensor | None) -> float:
    """⟨ḡ, w⟩, without bias as it is linear in the gradients."""
    if decayed is None:
        return 0.0
    return sum(float(block.total @ decayed) for block in blocks) / sum(block.count for block in blocks)
