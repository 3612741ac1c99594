"""What the steppers of adaptive optimizers share: the gradient in scaled coordinates, and the preconditioner's size.

Notation: D the preconditioner √v + ε per weight, u = D₀^½ (w − w₀) sketched, D₀ fixed; rows Z = J D₀^−½ S give outputs,
rows Y = J D₀^½ D⁻¹ S updates (`Samples.updates`; Z where D = D₀). For a row of state u, minibatch b, step t = 1, 2, …

    g = (1/B) Σ_{i∈b} Y_iᵀ g_i,   V ← β V + (1 − β) ‖g‖²,   q = (V / (1 − βᵗ)) / V_ref

(without the correction 1 − βᵗ where the optimizer has none): the shape of D is as the reference run met it at the same
place of the path, and its size as the candidate's own second moments have it. ‖Y_iᵀ g‖² estimates
Σ_j (∂_j)² D₀_j / D_j² over all weights j, which is V_ref = Σ_j v_j D₀_j / D_j² for the reference's own second moments
v. So q is how many times larger the candidate's are: above 1 for a smaller batch, whose gradients hold more noise, and
where a high learning rate makes gradients climb; below 1 in the first steps of a run, before they have grown. (One
factor per batch size from the reference's moments knew nothing of gradients that climb: small batches came out too soon
or too late.) Steps are divided by √q.

The share e = Σ D₀ (ε / D) / Σ D₀ of D does not follow the candidate: √q above is (1 − e) √q + e.

Clipping of gradients is left out: the norm that it depends on is that of the plain gradient, and g is the
preconditioned one. Candidates that clip are forecast with that doubt (`Optimizer.doubts`).

A weight decay that is coupled to the gradient is preconditioned with it: λ w becomes λ D⁻¹ w, which rows do not hold.
It is simulated as λ κ w with one number κ for all weights (`Preconditioner.inverse`): g ← g + λ κ u; the pre-trained
weights shrink apart from that, w₀(1 + α), with the gradient λ κ (1 + α) of α; and ‖g‖² above gets λ² (1 + α)² Σ w₀²
D₀/D² more (their product with the gradient of the loss is left out). Exact where D is one number. Such candidates are
forecast with that doubt too.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from raytt.dynamics.network import Batch, Network
from raytt.dynamics.steppers.preconditioner import Preconditioner
from raytt.task.losses import Loss

_TINY = 1e-20
"""Least q: a row without any gradient stays where it is."""


class AdaptiveStepper:
    """State of M rows, and what a step needs of the preconditioner.

    Every tensor among the attributes has one row per candidate.

    Args:
        network: In scaled coordinates.
        decays: λ of each of M candidates.
        second_betas: β of each.
        corrected: Whether second moments are divided by 1 − βᵗ.
        preconditioner: What the candidates' own second moments are compared with; None: D stands still.
    """

    def __init__(
        self,
        network: Network,
        *,
        decays: Sequence[float],
        second_betas: Sequence[float],
        corrected: bool,
        preconditioner: Preconditioner | None,
    ) -> None:
        self._network = network
        self.state = network.zeros(len(decays))
        self._preconditioner = preconditioner
        self._second_beta = self._column(second_betas)
        self._second = torch.zeros_like(self._second_beta)
        self._second_correction = (torch.ones_like if corrected else torch.zeros_like)(self._second_beta)
        self._decay = self._column(decays)
        self._alpha = torch.zeros_like(self._decay) if any(decay > 0 for decay in decays) else None

    def _column(self, values: Sequence[float]) -> Tensor:
        return torch.tensor(values, dtype=self.state.dtype, device=self.state.device).unsqueeze(1)

    @property
    def alpha(self) -> Tensor | None:
        """α per row, shape (M,); None where no row decays."""
        return None if self._alpha is None else self._alpha.squeeze(1)

    def _gradient(self, loss: Loss, batch: Batch) -> Tensor:
        """G of each row without any decay, shape (M, width)."""
        residual = loss.residual(self._network.outputs(self.state, self.alpha, batch), batch.targets)
        gradient = torch.zeros_like(self.state)
        self._network.accumulate(gradient, residual, batch, 1.0 / batch.outputs.shape[0])
        return gradient

    def _size(self, gradient: Tensor, further: Tensor | None = None) -> Tensor:
        """How many times larger than the reference's the preconditioner is after this gradient, shape (M, 1).

        Args:
            gradient: G, shape (M, width).
            further: What ‖g‖² lacks, shape (M, 1); None for nothing.
        """
        known = self._preconditioner
        if known is None:
            return torch.ones_like(self._second_beta)
        squared = gradient.square().sum(dim=1, keepdim=True)
        squared = squared if further is None else squared + further
        self._second = torch.lerp(squared, self._second, self._second_beta)
        self._second_correction = self._second_correction * self._second_beta
        times = self._second / ((1.0 - self._second_correction) * known.second_moment)
        return (1.0 - known.eps_share) * times.clamp(min=_TINY).sqrt() + known.eps_share

    def keep(self, rows: Tensor) -> None:
        """Go on with ``rows`` (positions among the current ones) only."""
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(self, name, value.index_select(0, rows))


class CoupledDecayStepper(AdaptiveStepper):
    """The same with a weight decay that is part of the gradient.

    Raises:
        ValueError: If a row decays and κ is not known.
    """

    def __init__(
        self,
        network: Network,
        *,
        decays: Sequence[float],
        second_betas: Sequence[float],
        corrected: bool,
        preconditioner: Preconditioner | None,
    ) -> None:
        super().__init__(
            network, decays=decays, second_betas=second_betas, corrected=corrected, preconditioner=preconditioner
        )
        self._pull = self._decay
        if self._alpha is not None:
            if preconditioner is None or preconditioner.inverse is None:
                raise ValueError("a weight decay that is part of the gradient needs a known preconditioner")
            self._pull = self._decay * preconditioner.inverse

    def _decayed(self, loss: Loss, batch: Batch) -> tuple[Tensor, Tensor | None, Tensor]:
        """The gradients of u, shape (M, width), and of α, shape (M, 1), and the preconditioner's size, (M, 1)."""
        gradient = self._gradient(loss, batch)
        if self._alpha is None:
            return gradient, None, self._size(gradient)
        assert self._preconditioner is not None
        shrunk = 1.0 + self._alpha
        gradient.addcmul_(self.state, self._pull)
        further = (self._decay * shrunk).square() * self._preconditioner.weights
        return gradient, self._pull * shrunk, self._size(gradient, further)
