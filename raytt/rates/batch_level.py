"""What the loss of a minibatch depends on its size, at the same weights.

Batch norms in training mode normalise by the statistics of the minibatch, which are the noisier the smaller it is: at
the same weights minibatches of 8 then have a higher loss than those of 32, by a factor of up to two where the loss is
low. The loss that a trainer logs differs by as much without any difference in what was learnt.

Notation: L_B(s) mean loss of the minibatches of B at saved state s, which are taken for the rates anyway. At each state

    ln L_B(s) = a(s) + b(s)/B,

fitted by least squares with weights B, as the variance of L_B goes with 1/B. Its residuals over all states give the
standard error e of b. What is not told from noise is shrunk: b(s) counts by the share b²/(b² + e²).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

ADAPTED = 0.5
"""Share of b(s) that counts for a candidate of another batch size. The states are those of a run with the reference's
size; a run with its own adapts to it. On a pre-trained EfficientNet and a ResNet with AdamW and SGD the 90th
percentiles of errors in steps to training losses were 27, 64, 33 and 50 % with none of it, 9, 29, 32 and 35 % with half
and 32, 25, 32 and 30 % with all of it; without batch norm it changes next to nothing (``python -m
benchmarks.rates.quality``, 2026-11-29)."""


def level_slopes(sizes: Floats, losses: Floats) -> Floats:
    """b(s), shrunk; shape ``(P,)``, 0 where fewer than three sizes leave no residuals, or losses are not positive.

    Args:
        sizes: B of the columns.
        losses: L_B(s), shape ``(P, columns)``.
    """
    none = np.zeros(len(losses))
    if len(set(sizes)) < 3 or not bool(np.isfinite(losses).all() and (losses > 0.0).all()):
        return none
    inverse = 1.0 / sizes
    weights = sizes / sizes.sum()
    centred = inverse - weights @ inverse
    logs = np.log(losses)
    about = logs - (logs @ weights)[:, None]
    spread = float(weights @ np.square(centred))
    slopes = np.asarray((about * weights) @ centred / spread)
    residuals = about - slopes[:, None] * centred
    freedom = len(losses) * (len(sizes) - 2)
    error = float((weights * np.square(residuals)).sum()) / freedom / spread
    return np.asarray(slopes * np.square(slopes) / (np.square(slopes) + error + np.finfo(np.float64).tiny))


def log_levels(sizes: Floats, reference: float, losses: Floats) -> Floats:
    """Ln of the loss that candidates log over what the reference logs at the same weights, shape ``(P, columns)``.

    Args:
        sizes: B of the columns.
        reference: The reference's B.
        losses: L_B(s), shape ``(P, columns)``.
    """
    return ADAPTED * level_slopes(sizes, losses)[:, None] * (1.0 / sizes - 1.0 / reference)
