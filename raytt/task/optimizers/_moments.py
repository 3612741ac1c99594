"""What Adam and AdamW have in common: all but where the weight decay goes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from raytt.task.checks import within
from raytt.task.optimizers._base import Adaptive, Rate, check_betas, log_median, refuse_momentum


@dataclass(frozen=True, kw_only=True)
class Moments(Adaptive):
    """m ← β₁m + (1 − β₁)g; v ← β₂v + (1 − β₂)g²; the step is η_t m̂ / (√v̂ + ε), m̂ = m/(1 − β₁ᵗ), v̂ = v/(1 − β₂ᵗ)."""

    label: ClassVar[str]
    """Name in sentences."""
    moment: ClassVar[str] = "exp_avg_sq"

    weight_decay: float = 0.0
    """λ ≥ 0, per step and weight."""
    betas: tuple[float, float] = (0.9, 0.999)
    """(β₁, β₂), each in [0, 1)."""
    eps: float = 1e-8
    """ε > 0."""

    def __post_init__(self) -> None:
        self._set(
            weight_decay=within("weight_decay", self.weight_decay, 0.0, math.inf),
            betas=check_betas(self.betas),
            eps=within("eps", self.eps, 0.0, math.inf, open_low=True),
        )

    @property
    def state_numbers(self) -> int:
        """2: m and v."""
        return 2

    def scratch_numbers(self, *, together: bool) -> int:
        """√v; one after the other its quotient, too, and a new gradient where weight decay is part of it.

        In the same loop the last parameter's quotient is freed only once the next one's is there.
        """
        return 1 if together else 3 + (0 if self.plain_decay or not self.weight_decay else 1)

    def effective_lr(self, lr: Rate) -> Rate:
        """``lr`` itself: m is a mean of gradients, not a sum."""
        return lr

    def stability_limit(self, sharpness: float) -> float:
        """2(1 + β₁)/((1 − β₁) λ).

        In coordinates scaled by the preconditioner the update is a heavy ball with rate lr (1 − β₁) and momentum β₁.
        Source: Cohen et al. 2022, *Adaptive gradient methods at the edge of stability*, arXiv 2207.14484.
        """
        if sharpness <= 0:
            return math.inf
        beta = self.betas[0]
        return 2.0 * (1.0 + beta) / (1.0 - beta) / sharpness

    def stability_share(self, lr: float, sharpness: float) -> float:
        """``lr`` over `stability_limit`."""
        beta = self.betas[0]
        return lr * (1.0 - beta) / (1.0 + beta) * sharpness / 2.0

    def moment_correction(self, steps: int) -> float:
        """1 − β₂ᵗ."""
        return float(1.0 - self.betas[1] ** steps)

    @classmethod
    def reference(cls, candidates: Sequence[tuple[Self, float]], *, stability_limit: float) -> tuple[Self, float]:
        """Median betas, ε of the first, no weight decay, at the (logarithmic) median of the learning rates."""
        betas = sorted(optimizer.betas for optimizer, _ in candidates)[len(candidates) // 2]
        return cls(betas=betas, eps=candidates[0][0].eps), log_median([lr for _, lr in candidates])

    def describe(self) -> dict[str, str]:
        """``decay 0.01``, ``betas 0.8 0.99``, ``eps 1e-06``."""
        pieces = {}
        if self.weight_decay:
            pieces["weight_decay"] = f"decay {self.weight_decay:.3g}"
        if self.betas != (0.9, 0.999):
            pieces["betas"] = f"betas {self.betas[0]:g} {self.betas[1]:g}"
        if self.eps != 1e-8:
            pieces["eps"] = f"eps {self.eps:.3g}"
        return pieces

    @classmethod
    def check_others(cls, others: Mapping[str, Any]) -> None:
        """Refuse momentum, which has another name here."""
        refuse_momentum(
            cls.name,
            others,
            known=("momentum", "nesterov"),
            remedy=f"{cls.label}'s momentum is its first beta: leave momentum and nesterov out (in a search space, "
            "make them depend on the optimizer).",
        )
