"""AdamW on a simplified network, in coordinates that its preconditioner has scaled.

With g and q as in `raytt.dynamics.steppers._adaptive`, β = β₂ there:

    m ← β₁ m + (1 − β₁) g,   u ← (1 − η_t λ) u − η_t m / ((1 − β₁ᵗ) √q)

which is AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101). D moves into the moving average with the gradient instead
of dividing it, a difference of the order of D's change over 1/(1 − β₁) steps.

The decoupled decay also shrinks the pre-trained weights: the weights are w₀(1 + α) + w, 1 + α ← (1 − η_t λ)(1 + α).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from raytt.dynamics.network import Batch, Network
from raytt.dynamics.steppers._adaptive import AdaptiveStepper
from raytt.dynamics.steppers._base import optimizers_of
from raytt.dynamics.steppers.preconditioner import Preconditioner
from raytt.task.candidate import Candidate
from raytt.task.losses import Loss
from raytt.task.optimizers import AdamW


class AdamWStepper(AdaptiveStepper):
    """State and update of M rows.

    Args:
        network: In scaled coordinates.
        candidates: M of optimizer adamw.
        preconditioner: What the candidates' own second moments are compared with; None: D stands still.
    """

    def __init__(
        self, network: Network, candidates: Sequence[Candidate], preconditioner: Preconditioner | None = None
    ) -> None:
        own = optimizers_of(candidates, AdamW)
        super().__init__(
            network,
            decays=[o.weight_decay for o in own],
            second_betas=[o.betas[1] for o in own],
            corrected=True,
            preconditioner=preconditioner,
        )
        self._mean = torch.zeros_like(self.state)
        self._beta = self._column([o.betas[0] for o in own])
        self._correction = torch.ones_like(self._beta)

    def step(self, loss: Loss, batch: Batch, lr: Tensor) -> None:
        """One optimizer step on a batch with learning rates ``lr`` (M, 1)."""
        gradient = self._gradient(loss, batch)
        self._mean.lerp_(gradient, 1.0 - self._beta)
        self._correction = self._correction * self._beta
        if self._alpha is not None:
            kept = 1.0 - lr * self._decay
            self.state.mul_(kept)
            self._alpha = kept * (1.0 + self._alpha) - 1.0
        self.state.addcmul_(self._mean, -lr / ((1.0 - self._correction) * self._size(gradient)))
