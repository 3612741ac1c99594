"""AdamW on a simplified network, in coordinates that its preconditioner has scaled.

Notation: D the preconditioner √v̂ + ε per weight, u = D₀^½ (w − w₀) sketched, D₀ fixed; rows Z = J D₀^−½ S give outputs,
rows Y = J D₀^½ D⁻¹ S updates (`Samples.updates`; Z where D = D₀). For a row of state u, minibatch b, step t = 1, 2, …

    g = (1/B) Σ_{i∈b} Y_iᵀ g_i,   m ← β₁ m + (1 − β₁) g,   V ← β₂ V + (1 − β₂) ‖g‖²
    q = (V / (1 − β₂ᵗ)) / V_ref,   u ← (1 − η_t λ) u − η_t m / ((1 − β₁ᵗ) √q)

which is AdamW (Loshchilov and Hutter 2019) with the shape of D as the reference run met it at the same place of the
path, and its size as the candidate's own second moments have it: ‖Y_iᵀ g‖² estimates Σ_j (∂_j)² D₀_j / D_j² over all
weights j, which is V_ref = Σ_j v̂_j D₀_j / D_j² for the reference's own second moments v̂. So q is how many times larger
the candidate's are: above 1 for a smaller batch, whose gradients hold more noise, and where a high learning rate makes
gradients climb; below 1 in the first steps of a run, before they have grown. (One factor per batch size from the
reference's moments knew nothing of gradients that climb: small batches came out too soon or too late.)

The share e = Σ D₀ (ε / D) / Σ D₀ of D does not follow the candidate: √q above is (1 − e) √q + e. D moves into the
moving average with the gradient instead of dividing it, a difference of the order of D's change over 1/(1 − β₁) steps.
Clipping of gradients is left out: AdamW's update hardly depends on the gradient's length.

The decoupled decay also shrinks the pre-trained weights: the weights are w₀(1 + α) + w, 1 + α ← (1 − η_t λ)(1 + α).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from raytt.dynamics.network import Batch, Network
from raytt.task.candidate import Candidate
from raytt.task.losses import Loss

_TINY = 1e-20
"""Least q: a row without any gradient stays where it is."""


@dataclass(frozen=True, kw_only=True)
class Preconditioner:
    """How large the reference's preconditioner is, beside its shape that the rows hold."""

    second_moment: float
    """V_ref, above 0."""
    eps_share: float = 0.0
    """e ∈ [0, 1]."""


class AdamW:
    """State and update of M rows.

    Args:
        network: In scaled coordinates.
        candidates: M of optimizer adamw.
        preconditioner: What the candidates' own second moments are compared with; None: D stands still.
    """

    def __init__(
        self, network: Network, candidates: Sequence[Candidate], preconditioner: Preconditioner | None = None
    ) -> None:
        self._network = network
        self.state = network.zeros(len(candidates))
        self._mean = torch.zeros_like(self.state)
        self._beta = self._column([c.betas[0] for c in candidates])
        self._correction = torch.ones_like(self._beta)
        self._preconditioner = preconditioner
        self._second = self._column([0.0] * len(candidates))
        self._second_beta = self._column([c.betas[1] for c in candidates])
        self._second_correction = torch.ones_like(self._beta)
        self._decay = self._column([c.weight_decay for c in candidates])
        uses_decay = any(c.weight_decay > 0 for c in candidates)
        self._alpha = self._column([0.0] * len(candidates)) if uses_decay else None

    def _column(self, values: list[float]) -> Tensor:
        return torch.tensor(values, dtype=self.state.dtype, device=self.state.device).unsqueeze(1)

    @property
    def alpha(self) -> Tensor | None:
        """α per row, shape (M,); None where no row decays."""
        return None if self._alpha is None else self._alpha.squeeze(1)

    def step(self, loss: Loss, batch: Batch, lr: Tensor) -> None:
        """One optimizer step on a batch with learning rates ``lr`` (M, 1)."""
        residual = loss.residual(self._network.outputs(self.state, self.alpha, batch), batch.targets)
        gradient = torch.zeros_like(self._mean)
        self._network.accumulate(gradient, residual, batch, 1.0 / batch.outputs.shape[0])
        self._mean.lerp_(gradient, 1.0 - self._beta)
        self._correction = self._correction * self._beta
        if self._alpha is not None:
            kept = 1.0 - lr * self._decay
            self.state.mul_(kept)
            self._alpha = kept * (1.0 + self._alpha) - 1.0
        self.state.addcmul_(self._mean, -lr / ((1.0 - self._correction) * self._size(gradient)))

    def _size(self, gradient: Tensor) -> Tensor:
        """How many times larger than the reference's the preconditioner is after this gradient, shape (M, 1)."""
        known = self._preconditioner
        if known is None:
            return torch.ones_like(self._beta)
        self._second = torch.lerp(gradient.square().sum(dim=1, keepdim=True), self._second, self._second_beta)
        self._second_correction = self._second_correction * self._second_beta
        times = self._second / ((1.0 - self._second_correction) * known.second_moment)
        return (1.0 - known.eps_share) * times.clamp(min=_TINY).sqrt() + known.eps_share

    def keep(self, rows: Tensor) -> None:
        """Go on with ``rows`` (positions among the current ones) only."""
        self.state, self._mean, self._beta, self._correction, self._decay = (
            x.index_select(0, rows) for x in (self.state, self._mean, self._beta, self._correction, self._decay)
        )
        self._second, self._second_beta, self._second_correction = (
            x.index_select(0, rows) for x in (self._second, self._second_beta, self._second_correction)
        )
        self._alpha = None if self._alpha is None else self._alpha.index_select(0, rows)
