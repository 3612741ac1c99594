"""AdamW: Adam with weight decay apart from the gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from raytt.task.optimizers._moments import Moments

if TYPE_CHECKING:
    from torch import optim
    from torch.optim.optimizer import ParamsT


@dataclass(frozen=True, kw_only=True)
class AdamW(Moments):
    """m ← β₁m + (1 − β₁)g; v ← β₂v + (1 − β₂)g²; w ← (1 − η_t λ) w − η_t m̂ / (√v̂ + ε).

    m̂ = m/(1 − β₁ᵗ), v̂ = v/(1 − β₂ᵗ). Source: Loshchilov and Hutter 2019, arXiv 1711.05101; ``torch.optim.AdamW``,
    whose weight decay is 0.01 by default; here the default is none.
    """

    name: ClassVar[str] = "adamw"
    label: ClassVar[str] = "AdamW"

    def torch(self, parameters: ParamsT, lr: float) -> optim.Optimizer:
        """``torch.optim.AdamW``."""
        from torch.optim import AdamW as TorchAdamW

        return TorchAdamW(parameters, lr=lr, betas=self.betas, eps=self.eps, weight_decay=self.weight_decay)
