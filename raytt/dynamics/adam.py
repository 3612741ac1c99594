"""AdamW on a simplified network, in coordinates that its preconditioner has scaled.

Notation: D the preconditioner √v̂ + ε per weight, u = D₀^½ (w − w₀) sketched, D₀ fixed; rows Z = J D₀^−½ S give outputs,
rows Y = J D₀^½ D⁻¹ S updates (`Samples.updates`; Z where D = D₀). For a row of state u, minibatch b, step t = 1, 2, …

    g = (1/B) Σ_{i∈b} Y_iᵀ g_i,   m ← β₁ m + (1 − β₁) g,   u ← (1 − η_t λ) u − η_t ρ m / (1 − β₁ᵗ)

which is AdamW (Loshchilov and Hutter 2019) with D as the reference run met it at the same place of the path, not as the
candidate's own second moments would have it: D as a function of place hardly depends on the learning rate while
t ≪ 1/(1 − β₂). It does depend on the batch size, through the noise in v̂; ρ = ρ(B) is that correction for the whole
network (`raytt.probe.reference`). D moves into the moving average with the gradient instead of dividing it, a
difference of the order of D's change over 1/(1 − β₁) steps. Clipping of gradients is left out: AdamW's update hardly
depends on the gradient's length.

The decoupled decay also shrinks the pre-trained weights: the weights are w₀(1 + α) + w, 1 + α ← (1 − η_t λ)(1 + α).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from raytt.candidates import Candidate
from raytt.dynamics.network import Batch, Network
from raytt.losses import Loss


class AdamW:
    """State and update of M rows.

    Args:
        network: In scaled coordinates.
        candidates: M of optimizer adamw.
        noise_factor: ρ of a batch size, by which its updates are shorter (or longer) than the reference's.
    """

    def __init__(
        self, network: Network, candidates: Sequence[Candidate], noise_factor: Callable[[int], float] = lambda _: 1.0
    ) -> None:
        self._network = network
        self.state = network.zeros(len(candidates))
        self._mean = torch.zeros_like(self.state)
        self._beta = self._column([c.betas[0] for c in candidates])
        self._correction = torch.ones_like(self._beta)
        self._factor = self._column([noise_factor(c.batch_size) for c in candidates])
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
        self._mean.mul_(self._beta)
        pulled = residual * (1.0 - self._beta).unsqueeze(2)
        self._network.accumulate(self._mean, pulled, batch, 1.0 / batch.outputs.shape[0])
        self._correction = self._correction * self._beta
        if self._alpha is not None:
            kept = 1.0 - lr * self._decay
            self.state.mul_(kept)
            self._alpha = kept * (1.0 + self._alpha) - 1.0
        self.state.addcmul_(self._mean, -lr * self._factor / (1.0 - self._correction))

    def keep(self, rows: Tensor) -> None:
        """Go on with ``rows`` (positions among the current ones) only."""
        self.state, self._mean, self._beta, self._correction, self._factor, self._decay = (
            x.index_select(0, rows)
            for x in (self.state, self._mean, self._beta, self._correction, self._factor, self._decay)
        )
        self._alpha = None if self._alpha is None else self._alpha.index_select(0, rows)
