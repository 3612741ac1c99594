"""Adam, with weight decay as part of the gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from raytt.task.optimizers._base import COUPLED_DECAY
from raytt.task.optimizers._moments import Moments

if TYPE_CHECKING:
    from torch import optim
    from torch.optim.optimizer import ParamsT


@dataclass(frozen=True, kw_only=True)
class Adam(Moments):
    """g ← g + λw; m ← β₁m + (1 − β₁)g; v ← β₂v + (1 − β₂)g²; w ← w − η_t m̂ / (√v̂ + ε).

    m̂ = m/(1 − β₁ᵗ), v̂ = v/(1 − β₂ᵗ). Source: Kingma and Ba 2015, arXiv 1412.6980; ``torch.optim.Adam``. Without
    weight decay it is AdamW.
    """

    name: ClassVar[str] = "adam"
    label: ClassVar[str] = "Adam"
    plain_decay: ClassVar[bool] = False

    def torch(self, parameters: ParamsT, lr: float) -> optim.Optimizer:
        """``torch.optim.Adam``."""
        from torch.optim import Adam as TorchAdam

        return TorchAdam(parameters, lr=lr, betas=self.betas, eps=self.eps, weight_decay=self.weight_decay)

    def doubts(self, *, clips: bool) -> tuple[str, ...]:
        """Clipping, and weight decay: it is divided by each weight's own preconditioner."""
        return (*super().doubts(clips=clips), *((COUPLED_DECAY,) if self.weight_decay else ()))
