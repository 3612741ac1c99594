"""Lion: the sign of a moving average."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from raytt.task.checks import within
from raytt.task.optimizers._base import Optimizer, Rate, WeightTensor, check_betas, log_median, refuse_momentum

if TYPE_CHECKING:
    from torch import Tensor, optim
    from torch.optim.optimizer import ParamsT


@dataclass(frozen=True, kw_only=True)
class Lion(Optimizer):
    """c ← β₁m + (1 − β₁)g; w ← (1 − ηλ) w − η sign(c); m ← β₂m + (1 − β₂)g.

    Source: Chen et al. 2023, arXiv 2302.06675. On two small networks, from 16 minibatches per rate, steps of eight
    configurations (learning rates a factor of 4 apart, batch sizes 8 to 64) to 0.5, 0.25 and 0.12 of the initial loss
    were predicted with a median error of 5 %, at most 27 % (the smallest batches early on). The simulation of eval mode
    does not know it: its candidates need ``mode="train"``.
    """

    name: ClassVar[str] = "lion"
    trusted_share: ClassVar[float] = 0.4
    scale_free: ClassVar[bool] = True

    weight_decay: float = 0.0
    """λ ≥ 0, per step and weight."""
    betas: tuple[float, float] = (0.9, 0.99)
    """(β₁, β₂), each in [0, 1)."""

    def __post_init__(self) -> None:
        self._set(weight_decay=within("weight_decay", self.weight_decay, 0.0, math.inf), betas=check_betas(self.betas))

    def torch(self, parameters: ParamsT, lr: float) -> optim.Optimizer:
        """`raytt.task.optimizers._torch_lion.TorchLion`."""
        from raytt.task.optimizers._torch_lion import TorchLion

        return TorchLion(parameters, lr=lr, betas=self.betas, weight_decay=self.weight_decay)

    @property
    def state_numbers(self) -> int:
        """1: m."""
        return 1

    def scratch_numbers(self, *, together: bool) -> int:
        """c, of one parameter after the other; the last one is freed once the next one is there."""
        return 0 if together else 2

    def effective_lr(self, lr: Rate) -> Rate:
        """``lr`` itself: a step has its size in every weight."""
        return lr

    @property
    def averaged_variance(self) -> float:
        """Variance of c over that of a gradient: (1 − β₁)² + β₁² (1 − β₂)/(1 + β₂), of a settled average."""
        first, second = self.betas
        return (1.0 - first) ** 2 + first**2 * (1.0 - second) / (1.0 + second)

    def descent_scale(self, squared_mean: Tensor, variance: Tensor, tensors: Sequence[WeightTensor] = ()) -> Tensor:
        """E sign(c)/ḡ = erf(|ḡ|/(√2 s_c))/|ḡ| for normal gradients, with s_c² = `averaged_variance` · s².

        Where |ḡ| is small beside s_c that is √(2/π)/s_c; it is 0 where both are 0.
        """
        import torch

        mean, spread = squared_mean.sqrt(), (self.averaged_variance * variance).sqrt()
        share = mean / spread
        # Of the quotient of two numbers that may both be 0, the limits.
        noisy = math.sqrt(2.0 / math.pi) / spread
        exact = torch.erf(share / math.sqrt(2.0)) / mean
        scale = torch.where(share > SMALL_SHARE, exact, noisy)
        return torch.where(spread > 0.0, scale, torch.where(mean > 0.0, 1.0 / mean, torch.zeros_like(mean)))

    def stability_limit(self, sharpness: float) -> float:
        """+inf: steps of constant size never diverge, they do not come to rest."""
        return math.inf

    def stability_share(self, lr: float, sharpness: float) -> float:
        """0."""
        return 0.0

    @classmethod
    def reference(cls, candidates: Sequence[tuple[Lion, float]], *, stability_limit: float) -> tuple[Lion, float]:
        """Median betas, no weight decay, at the (logarithmic) median of the learning rates."""
        betas = sorted(optimizer.betas for optimizer, _ in candidates)[len(candidates) // 2]
        return cls(betas=betas), log_median([lr for _, lr in candidates])

    def describe(self) -> dict[str, str]:
        """``decay 0.01``, ``betas 0.8 0.99``."""
        pieces = {}
        if self.weight_decay:
            pieces["weight_decay"] = f"decay {self.weight_decay:.3g}"
        if self.betas != (0.9, 0.99):
            pieces["betas"] = f"betas {self.betas[0]:g} {self.betas[1]:g}"
        return pieces

    @classmethod
    def check_others(cls, others: Mapping[str, Any]) -> None:
        """Refuse momentum, which has another name here."""
        refuse_momentum(
            cls.name,
            others,
            known=("momentum", "nesterov"),
            remedy="Lion's momentum is its first beta: leave momentum and nesterov out (in a search space, make them "
            "depend on the optimizer).",
        )


SMALL_SHARE = 1e-3
"""|ḡ|/s_c below which erf is its own first order, to one part in 10⁶."""
