"""Statistics of the gradient and of the loss curvature at a tangent point.

Notation: Z_i ∈ R^{C × r} rows of sample i (the sketched Jacobian of its C outputs), g_i = ∂ℓ/∂f
residual, H_i = ∂²ℓ/∂f² loss curvature in the outputs; K is the Gauss–Newton matrix (Martens 2020, arXiv 1412.1193).

* mean residual statistic  ḡ = (1/N) Σ Z_iᵀ g_i
* gradient noise           Σ = (1/N) Σ Z_iᵀ g_i g_iᵀ Z_i − ḡ ḡᵀ, of which the trace is reported
* curvature                K = (1/N) Σ Z_iᵀ H_i Z_i, of which the largest eigenvalue λ_max is reported (by Lanczos: K is
  never formed)

At which learning rate full-batch steps diverge along the top direction is the optimizer's own
(`raytt.task.optimizers.Optimizer.stability_limit`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor

from raytt.dynamics.tangent import Samples
from raytt.task.losses import Loss
from raytt.task.optimizers import Optimizer, Sgd

DENSE_BELOW = 32
"""Up to this many coordinates K is formed and decomposed: Lanczos needs more dimensions than it finds vectors."""


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Gradient and curvature at a tangent point, in the units of loss and weights."""

    mean_loss: float
    """(1/N) Σ ℓ_i."""
    mean_residual_norm: float
    """‖ḡ‖, norm of the full-batch gradient, loss per weight."""
    gradient_noise: float
    """tr Σ ≥ 0, variance of one sample's gradient, (loss per weight)²."""
    top_curvature: float
    """λ_max(K), loss per weight²; negative only for a loss that is concave in the outputs."""

    def stability_limit(self, optimizer: Optimizer | None = None) -> float:
        """Largest stable learning rate at this point; +inf where nothing curves upwards.

        Args:
            optimizer: Not an adaptive one, whose limit depends on its preconditioner. None: plain SGD.
        """
        return (optimizer or Sgd()).stability_limit(self.top_curvature)

    def stability_share(self, optimizer: Optimizer, lr: float) -> float:
        """How near the edge a rate is: its share of the stability limit, or a fifth of lr/(1 − μ) over 2/λ_max if more.

        The second counts where momentum is large: full-batch steps are stable then, but real training with an
        effective learning rate lr/(1 − μ) beyond the plain limit left the linear range permanently. Of the digits
        example, runs at 0.2, 0.6 and 1.0 times that limit trained, those at 1.8 and 3.1 collapsed or diverged.
        """
        effective = optimizer.effective_lr(lr) / self.stability_limit()
        return max(lr / self.stability_limit(optimizer), 0.2 * effective)


def statistics_of(samples: Samples, loss: Loss) -> Statistics:
    """`Statistics` of some samples at their tangent point, computed in float64."""
    outputs, rows = samples.outputs.double(), samples.jacobian.double()
    targets = samples.targets
    num_samples = outputs.shape[0]
    per_sample = torch.einsum("ncr,nc->nr", rows, loss.residual(outputs, targets))
    mean = per_sample.mean(dim=0)
    noise = per_sample.square().sum() / num_samples - mean.square().sum()
    return Statistics(
        mean_loss=float(loss.value(outputs, targets).mean()),
        mean_residual_norm=float(mean.norm()),
        gradient_noise=max(0.0, float(noise)),
        top_curvature=_top_curvature(outputs, rows.reshape(-1, rows.shape[-1]), targets, loss),
    )


def _top_curvature(outputs: Tensor, rows: Tensor, targets: Tensor, loss: Loss) -> float:
    width = rows.shape[1]

    def apply(direction: NDArray[np.float64]) -> NDArray[np.float64]:
        vector = torch.as_tensor(np.ascontiguousarray(direction), dtype=rows.dtype, device=rows.device).reshape(width)
        bent = loss.curvature(outputs, targets, (rows @ vector).reshape(outputs.shape)) / outputs.shape[0]
        return np.asarray((rows.T @ bent.reshape(-1)).cpu().numpy())

    if width <= DENSE_BELOW:
        dense = np.stack([apply(unit) for unit in np.eye(width)], axis=1)
        return float(np.linalg.eigvalsh(0.5 * (dense + dense.T))[-1])
    # A fixed start vector: eigsh otherwise takes one from the global random state. A generic one is not orthogonal to
    # the answer.
    start = np.random.default_rng(0).standard_normal(width)
    operator = LinearOperator((width, width), matvec=apply, dtype=np.float64)
    if not np.any(apply(start)):
        return 0.0
    return float(eigsh(operator, k=1, which="LA", v0=start, tol=1e-6, return_eigenvectors=False)[0])
