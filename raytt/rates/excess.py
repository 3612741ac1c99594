"""The excess loss that minibatch noise keeps up: what high learning rates and small batches cost.

Notation: η learning rate, μ momentum, η^eff = η/(1 − μ) (`Candidate.effective_rates`); coordinates scaled by the
preconditioner's root, in which a step is plain SGD; along one direction of curvature h the gradient is h x + noise of
variance n. In the stationary state (from the second moments of heavy ball; μ = 0 for plain SGD)

    E x² = η^eff n / (2 h (1 − η h / (2 (1 + μ)))),      excess loss ½ h E x² = ¼ η^eff n / (1 − η h/(2 (1 + μ)))

To first order it does not depend on h: summed over directions, E = ¼ η^eff n with n the noise of a minibatch's gradient
that `raytt.rates.signal` measures (Mandt, Hoffman, Blei 2017, arXiv 1704.04289, for the stationary state; the
¼ η tr Σ/B there). With the mean curvature h = c/(v + n) along a minibatch's step, from trial steps, the second order is
known, too, and how fast the excess builds up: E moves towards its stationary value by the share 2 η^eff h per step.
Without trial steps it is taken to be there at once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

LEAST_DISTANCE = 0.2
"""Least 1 − η h/(2 (1 + μ)) that is used: nearer to the limit, the mean curvature says too little of the largest."""


def stationary_excess(
    noise: Floats, curvature: Floats | None, learning_rate: Floats, effective_rate: Floats, momentum: Floats
) -> tuple[Floats, Flags]:
    """E in the stationary state, and whether there is none; all of shape ``(M,)``.

    Args:
        noise: n.
        curvature: h; None: E to first order in η.
        learning_rate: η.
        effective_rate: η^eff, with momentum's ramp.
        momentum: μ.
    """
    first = 0.25 * effective_rate * noise
    if curvature is None:
        return first, np.zeros(len(noise), dtype=bool)
    distance = 1.0 - 0.5 * learning_rate * curvature / (1.0 + momentum)
    return first / np.maximum(distance, LEAST_DISTANCE), distance <= 0.0


def relaxed(excess: Floats, target: Floats, curvature: Floats | None, effective_rate: Floats) -> Floats:
    """E one step later, on its way to ``target``; shape ``(M,)``."""
    if curvature is None:
        return target
    return excess + np.minimum(1.0, 2.0 * effective_rate * np.maximum(curvature, 0.0)) * (target - excess)
