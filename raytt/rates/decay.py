"""What weight decay does to progress along a reference's loss curve.

Where decay moves the weights by −η^eff λ w beside the optimizer's step (SGD, where it is added to the gradient; AdamW,
where it is apart), it changes the loss by −η^eff λ ⟨ḡ, w⟩ per step to first order. ⟨ḡ, w⟩ is measured with the rates;
it is negative once outputs grow, so that decay slows training. The loss of the reference falls by η^eff ℓ per step,
ℓ = −dL/dτ along its path, and a candidate whose decay is λ above the reference's moves on by

    η^eff (v_B/v_{B_ref} + λ ⟨ḡ, w⟩ / ℓ)

At usual sizes it hardly matters: on two small networks, one with batch norm and one with layer norm, real training to
0.5, 0.25 and 0.12 of the initial loss took 0.1 to 0.4 % more steps with λ = 0.0005 for SGD, and 0 to 1.4 % with 0.01 to
0.1 for AdamW; SGD with 0.01 took 2 to 9 %, with 0.05 8 to 71 % more. Predicted are 0 to 0.4 %, 0 to 1.2 %, 1 to 9 % and
3 to 50 %. Not counted is what decay does to the weights' norms, on which the learning rates of layers before a norm
depend; it acts over 1/(η^eff λ) steps.

Adam and RMSprop divide the decay by each weight's own preconditioner: theirs is left out.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from raytt.task.candidate import Candidate

Floats = NDArray[np.float64]

WIDTH = 0.25
"""Half the width over which the slope of the reference's curve is taken, as a share of the place."""
FEWEST = 5
"""Steps of the reference below which no place is looked at for its slope."""
MOST = 0.9
"""Share of the progress by which decay slows or speeds it at most: beyond, first order says nothing."""


def plain_decay(candidate: Candidate) -> float:
    """λ of a candidate where it acts apart from the preconditioner, else 0."""
    optimizer = candidate.optimizer
    return getattr(optimizer, "weight_decay", 0.0) if optimizer.plain_decay else 0.0


def slope(loss: Callable[[Floats], Floats], times: Floats, places: Floats) -> Floats:
    """ℓ > 0 at ``places``, shape ``(M,)``.

    Args:
        loss: L of any τ.
        times: τ of the reference's steps, increasing from 0.
        places: Where.
    """
    middle = np.maximum(places, times[min(FEWEST, len(times) - 1)])
    fall = loss((1.0 - WIDTH) * middle) - loss((1.0 + WIDTH) * middle)
    return np.asarray(np.maximum(fall, 1e-300) / (2.0 * WIDTH * middle))


def slowed(factor: Floats, change: Floats) -> Floats:
    """Progress per step with the change λ ⟨ḡ, w⟩ / ℓ that decay makes, within `MOST` of what it is without."""
    return factor + np.clip(change, -MOST * factor, MOST * factor)
