"""Adam on a simplified network, in coordinates that its preconditioner has scaled.

With g, q and the gradient of α as in `raytt.dynamics.steppers._adaptive`, weight decay included, β = β₂ there:

    m ← β₁ m + (1 − β₁) g,   u ← u − η_t m / ((1 − β₁ᵗ) √q)

and α likewise (Kingma and Ba 2015, arXiv 1412.6980). Without weight decay it is AdamW.
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
from raytt.task.optimizers import Adam


class AdamStepper(CoupledDecayStepper):
    """State and update of M rows.

    Args:
        network: In scaled coordinates.
        candidates: M of optimizer adam.
        preconditioner: What the candidates' own second moments are compared with; None: D stands still.

    Raises:
        ValueError: If a candidate decays and the preconditioner does not know how.
    """

    def __init__(
        self, network: Network, candidates: Sequence[Candidate], preconditioner: Preconditioner | None = None
    ) -> None:
        own = optimizers_of(candidates, Adam)
        super().__init__(
            network,
            decays=[o.weight_decay for o in own],
            second_betas=[o.betas[1] for o in own],
            corrected=True,
            preconditioner=preconditioner,
        )
        self._mean = torch.zeros_like(self.state)
        self._alpha_mean = torch.zeros_like(self._decay)
        self._beta = self._column([o.betas[0] for o in own])
        self._correction = torch.ones_like(self._beta)

    def step(self, loss: Loss, batch: Batch, lr: Tensor) -> None:
        """One optimizer step on a batch with learning rates ``lr`` (M, 1)."""
        gradient, pull, size = self._decayed(loss, batch)
        self._mean.lerp_(gradient, 1.0 - self._beta)
        self._correction = self._correction * self._beta
        rate = -lr / ((1.0 - self._correction) * size)
        self.state.addcmul_(self._mean, rate)
        if self._alpha is not None and pull is not None:
            self._alpha_mean.lerp_(pull, 1.0 - self._beta)
            self._alpha.addcmul_(self._alpha_mean, rate)
