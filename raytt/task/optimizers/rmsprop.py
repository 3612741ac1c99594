"""RMSprop."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from raytt.task.checks import within
from raytt.task.optimizers._base import COUPLED_DECAY, Adaptive, Rate, log_median, refuse_momentum

if TYPE_CHECKING:
    from torch import optim
    from torch.optim.optimizer import ParamsT


@dataclass(frozen=True, kw_only=True)
class RMSprop(Adaptive):
    """g ← g + λw; v ← αv + (1 − α)g²; b ← μb + g / (√v + ε); w ← w − η_t b.

    v begins at 0 and is not corrected for it, so that the first step is 1/√(1 − α) times a settled one. Source:
    Tieleman and Hinton 2012 (lecture 6.5); ``torch.optim.RMSprop``, not centered: the centered form's preconditioner is
    √(v − ḡ²), and how large a candidate's mean gradient ḡ is beside its v, the reference run does not tell.
    """

    name: ClassVar[str] = "rmsprop"
    moment: ClassVar[str] = "square_avg"
    plain_decay: ClassVar[bool] = False

    momentum: float = 0.0
    """μ in [0, 1)."""
    weight_decay: float = 0.0
    """λ ≥ 0, per step and weight, added to the gradient."""
    alpha: float = 0.99
    """Decay of the squared gradients, in [0, 1)."""
    eps: float = 1e-8
    """ε > 0."""

    def __post_init__(self) -> None:
        self._set(
            momentum=within("momentum", self.momentum, 0.0, 1.0, open_high=True),
            weight_decay=within("weight_decay", self.weight_decay, 0.0, math.inf),
            alpha=within("alpha", self.alpha, 0.0, 1.0, open_high=True),
            eps=within("eps", self.eps, 0.0, math.inf, open_low=True),
        )

    def torch(self, parameters: ParamsT, lr: float) -> optim.Optimizer:
        """``torch.optim.RMSprop``."""
        from torch.optim import RMSprop as TorchRMSprop

        return TorchRMSprop(
            parameters, lr=lr, alpha=self.alpha, eps=self.eps, weight_decay=self.weight_decay, momentum=self.momentum
        )

    @property
    def state_numbers(self) -> int:
        """v, and with momentum b."""
        return 2 if self.momentum else 1

    def scratch_numbers(self, *, together: bool) -> int:
        """√v, one after the other also that of the last parameter; weight decay makes a new gradient."""
        return (1 if together else 2) + (1 if self.weight_decay else 0)

    def effective_lr(self, lr: Rate) -> Rate:
        """lr/(1 − μ)."""
        return lr / (1.0 - self.momentum)

    def effective_rates(self, rates: NDArray[np.float64]) -> NDArray[np.float64]:
        """η_t Σ_{k≤t} μᵏ / √(1 − αᵗ⁺¹⁻ᵏ): each step's gradient is divided by a v that is still too small."""
        steps = len(rates)
        sizes = 1.0 / np.sqrt(1.0 - self.alpha ** np.arange(1, steps + 1))
        velocity, total = np.empty(steps), 0.0
        for t in range(steps):
            total = self.momentum * total + sizes[t]
            velocity[t] = total
        return rates * velocity

    def stability_limit(self, sharpness: float) -> float:
        """2(1 + μ)/λ: a heavy ball in coordinates scaled by the preconditioner.

        Source: Polyak 1964; that the preconditioned curvature is what counts: Cohen et al. 2022, arXiv 2207.14484.
        """
        return math.inf if sharpness <= 0 else 2.0 * (1.0 + self.momentum) / sharpness

    def stability_share(self, lr: float, sharpness: float) -> float:
        """``lr`` over `stability_limit`."""
        return lr * sharpness / 2.0 / (1.0 + self.momentum)

    def moment_correction(self, steps: int) -> float:
        """1: there is none."""
        return 1.0

    @classmethod
    def reference(cls, candidates: Sequence[tuple[RMSprop, float]], *, stability_limit: float) -> tuple[RMSprop, float]:
        """Median μ and α, ε of the first, no weight decay, at the (logarithmic) median of effective learning rates."""
        middle = len(candidates) // 2
        momentum = sorted(optimizer.momentum for optimizer, _ in candidates)[middle]
        alpha = sorted(optimizer.alpha for optimizer, _ in candidates)[middle]
        lr = log_median([optimizer.effective_lr(lr) for optimizer, lr in candidates]) * (1.0 - momentum)
        return cls(momentum=momentum, alpha=alpha, eps=candidates[0][0].eps), lr

    def describe(self) -> dict[str, str]:
        """``momentum 0.9``, ``decay 0.01``, ``alpha 0.9``, ``eps 1e-06``."""
        pieces = {}
        if self.momentum:
            pieces["momentum"] = f"momentum {self.momentum:.3g}"
        if self.weight_decay:
            pieces["weight_decay"] = f"decay {self.weight_decay:.3g}"
        if self.alpha != 0.99:
            pieces["alpha"] = f"alpha {self.alpha:.4g}"
        if self.eps != 1e-8:
            pieces["eps"] = f"eps {self.eps:.3g}"
        return pieces

    def doubts(self, *, clips: bool) -> tuple[str, ...]:
        """Clipping, and weight decay: it is divided by each weight's own preconditioner."""
        return (*super().doubts(clips=clips), *((COUPLED_DECAY,) if self.weight_decay else ()))

    @classmethod
    def check_others(cls, others: Mapping[str, Any]) -> None:
        """Refuse Nesterov momentum, which it does not have."""
        refuse_momentum(
            cls.name,
            others,
            known=("nesterov",),
            remedy="RMSprop has no Nesterov momentum: leave nesterov out (in a search space, make it depend on the "
            "optimizer).",
        )
