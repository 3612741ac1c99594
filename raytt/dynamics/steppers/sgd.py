"""Exact discrete dynamics of the linearized network under the candidates' own SGD.

The network is f(w) = f(w₀) + J (w − w₀), whose training predicts the steps of fine-tuning (Zancato et al. 2020, arXiv
2008.12478, with the gradient flow there replaced by the optimizer's own steps).

Notation: M candidates on one sample path, batch b_t of B samples, state w (displacement from the pre-trained weights
w₀) and α (part along w₀ itself, so that the weights are w₀(1 + α) + w), learning rate η_t, momentum μ, weight decay λ.

    d = (1/B) Σ_{i∈b_t} J_iᵀ g_i + λ·(weights),   v ← μ v + d,   weights ← weights − η_t (d + μ v if nesterov else v)

as `torch.optim.SGD` has it with dampening 0 (its first velocity, v = d, is what v = 0 before the first step gives). The
decay acts on w and on 1 + α separately; α has its own velocity and no other gradient. Where a candidate clips, the
gradient (without the decay, as torch has it) is first scaled down to its largest norm.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from raytt.dynamics.network import Batch, Network
from raytt.dynamics.steppers._base import optimizers_of
from raytt.dynamics.steppers.preconditioner import Preconditioner
from raytt.task.candidate import Candidate
from raytt.task.losses import Loss
from raytt.task.optimizers import Sgd


class SgdStepper:
    """State and update of M rows: torch's SGD on a `Network`.

    Args:
        network: In plain coordinates.
        candidates: M of optimizer sgd.
        preconditioner: None: it has none.

    Raises:
        ValueError: If a preconditioner is given.
    """

    def __init__(
        self, network: Network, candidates: Sequence[Candidate], preconditioner: Preconditioner | None = None
    ) -> None:
        if preconditioner is not None:
            raise ValueError("SGD has no preconditioner")
        own = optimizers_of(candidates, Sgd)
        self._network = network
        self.state = network.zeros(len(candidates))
        self._momentum = self._column([o.momentum for o in own])
        self._decay = self._column([o.weight_decay for o in own])
        self._nesterov = self._column([o.momentum if o.nesterov else 0.0 for o in own])
        self._uses_momentum = any(o.momentum > 0 for o in own)
        self._uses_nesterov = any(o.nesterov for o in own)
        self._velocity = torch.zeros_like(self.state) if self._uses_momentum else None
        uses_decay = any(o.weight_decay > 0 for o in own)
        self._alpha = self._column([0.0] * len(candidates)) if uses_decay else None
        self._alpha_velocity = self._column([0.0] * len(candidates))
        clips = any(c.max_grad_norm is not None for c in candidates)
        limits = [np.inf if c.max_grad_norm is None else c.max_grad_norm for c in candidates]
        self._longest = self._column(limits) if clips else None

    def _column(self, values: list[float]) -> Tensor:
        return torch.tensor(values, dtype=self.state.dtype, device=self.state.device).unsqueeze(1)

    @property
    def alpha(self) -> Tensor | None:
        """α per row, shape (M,); None where no row decays."""
        return None if self._alpha is None else self._alpha.squeeze(1)

    def step(self, loss: Loss, batch: Batch, lr: Tensor) -> None:
        """One optimizer step on a batch with learning rates ``lr`` (M, 1)."""
        residual = loss.residual(self._network.outputs(self.state, self.alpha, batch), batch.targets)
        scale = 1.0 / batch.outputs.shape[0]
        if self._velocity is None:
            if self._alpha is not None:
                self.state.mul_(1.0 - lr * self._decay)
                self._alpha.sub_(lr * self._decay * (1.0 + self._alpha))
            self._pull(self.state, residual, batch, scale, factor=-lr)
            return
        # Nesterov's step η (d + μ v⁺) with v⁺ = μ v + d is η (1 + μ) v⁺ − η μ v. The second part is applied first, so
        # that d is never held apart; the decay, which wants the weights before it, takes it out again through ``keep``.
        ahead = lr * self._nesterov
        keep = self._momentum - self._decay * ahead
        if self._uses_nesterov:
            self.state.addcmul_(self._velocity, ahead)
        self._velocity.mul_(keep)
        if self._alpha is not None:
            self._velocity.addcmul_(self.state, self._decay)
            self._alpha.addcmul_(self._alpha_velocity, ahead)
            self._alpha_velocity.mul_(keep).addcmul_(1.0 + self._alpha, self._decay)
            self._alpha.addcmul_(self._alpha_velocity, -lr * (1.0 + self._nesterov))
        self._pull(self._velocity, residual, batch, scale)
        self.state.addcmul_(self._velocity, -lr * (1.0 + self._nesterov))

    def _pull(
        self, into: Tensor, residual: Tensor, batch: Batch, scale: float, *, factor: Tensor | None = None
    ) -> None:
        """Add the (clipped) gradient, times a factor (M, 1), to ``into``."""
        if self._longest is not None:
            gradient = torch.zeros_like(into)
            self._network.accumulate(gradient, residual, batch, scale)
            norm = self._network.squared_norm(gradient, residual, batch, scale).clamp(min=0.0).sqrt().unsqueeze(1)
            shrink = torch.clamp(self._longest / norm.clamp(min=1e-30), max=1.0)
            factor = shrink if factor is None else shrink * factor
        if factor is not None:
            residual = residual * factor.unsqueeze(2)
        self._network.accumulate(into, residual, batch, scale)

    def keep(self, rows: Tensor) -> None:
        """Go on with ``rows`` (positions among the current ones) only."""
        self.state, self._momentum, self._decay, self._nesterov, self._alpha_velocity = (
            x.index_select(0, rows)
            for x in (self.state, self._momentum, self._decay, self._nesterov, self._alpha_velocity)
        )
        self._velocity = None if self._velocity is None else self._velocity.index_select(0, rows)
        self._alpha = None if self._alpha is None else self._alpha.index_select(0, rows)
        self._longest = None if self._longest is None else self._longest.index_select(0, rows)
