"""RMSprop on a simplified network, in coordinates that its preconditioner has scaled.

With g, q and the gradient of α as in `raytt.dynamics.steppers._adaptive`, weight decay included, β = α of RMSprop there
and second moments not corrected for their beginning at 0:

    b ← μ b + g / √q,   u ← u − η_t b

and the part along the pre-trained weights likewise (Tieleman and Hinton 2012; ``torch.optim.RMSprop``).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from raytt.dynamics.network import Batch, Network
from raytt.dynamics.steppers._adaptive import CoupledDecayStepper
from raytt.dynamics.steppers._base import optimizers_of
from raytt.dynamics.steppers.preconditioner import Preconditioner
from raytt.task.candidate import Candidate
from raytt.task.losses import Loss
from raytt.task.optimizers import RMSprop


class RMSpropStepper(CoupledDecayStepper):
    """State and update of M rows.

    Args:
        network: In scaled coordinates.
        candidates: M of optimizer rmsprop.
        preconditioner: What the candidates' own second moments are compared with; None: D stands still.

    Raises:
        ValueError: If a candidate decays and the preconditioner does not know how.
    """

    def __init__(
        self, network: Network, candidates: Sequence[Candidate], preconditioner: Preconditioner | None = None
    ) -> None:
        own = optimizers_of(candidates, RMSprop)
        super().__init__(
            network,
            decays=[o.weight_decay for o in own],
            second_betas=[o.alpha for o in own],
            corrected=False,
            preconditioner=preconditioner,
        )
        self._momentum = self._column([o.momentum for o in own])
        self._velocity = torch.zeros_like(self.state)
        self._alpha_velocity = torch.zeros_like(self._decay)

    def step(self, loss: Loss, batch: Batch, lr: Tensor) -> None:
        """One optimizer step on a batch with learning rates ``lr`` (M, 1)."""
        gradient, pull, size = self._decayed(loss, batch)
        self._velocity.mul_(self._momentum).addcdiv_(gradient, size)
        self.state.addcmul_(self._velocity, -lr)
        if self._alpha is not None and pull is not None:
            self._alpha_velocity.mul_(self._momentum).addcdiv_(pull, size)
            self._alpha.addcmul_(self._alpha_velocity, -lr)
