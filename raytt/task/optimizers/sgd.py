"""Stochastic gradient descent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from raytt.errors import InputError
from raytt.task.checks import flag, within
from raytt.task.optimizers._base import Optimizer, Rate

if TYPE_CHECKING:
    from torch import optim
    from torch.optim.optimizer import ParamsT

REFERENCE_MOMENTUM = 0.9
"""μ of every reference run. A heavy ball is stable at effective rates lr/(1 − μ) far beyond those of plain SGD (limit
2(1 + μ)/λ_max against 2/λ_max for lr): measured on the digits example, a reference with lr 0.0006 and momentum 0.9 is
reproduced by its own tangents to 3 %, while plain SGD at half its effective learning rate is at the edge of stability
and is off by 15 %."""
SAFE_SHARE = 0.25
"""Share of plain SGD's stability limit at the pre-trained weights up to which effective learning rates are looked at
when a reference is chosen: higher ones would become unstable as curvature grows. On diabetes 0.25, 0.5 and 1 choose the
same learning rate, with which the run got to 0.2 of the initial loss in 1,069 steps; 0.0625 and 0.125 choose one that
had not within 1,500 (``python -m benchmarks.constants --sections shares``, 2026-11-29)."""


@dataclass(frozen=True, kw_only=True)
class Sgd(Optimizer):
    """u ← g + λw; v ← μv + u (v ← u at the first step); w ← w − η_t (u + μv if nesterov else v).

    Source: ``torch.optim.SGD`` with dampening 0; momentum after Polyak 1964, Nesterov's form as in Sutskever et al.
    2013.
    """

    name: ClassVar[str] = "sgd"
    trusted_share: ClassVar[float] = 1.5
    """Measured on the accuracy record: see `raytt.forecast.trust`."""

    momentum: float = 0.0
    """μ in [0, 1)."""
    nesterov: bool = False
    """Nesterov momentum; needs momentum > 0."""
    weight_decay: float = 0.0
    """λ ≥ 0, per step and weight, added to the gradient."""

    def __post_init__(self) -> None:
        self._set(
            momentum=within("momentum", self.momentum, 0.0, 1.0, open_high=True),
            nesterov=flag("nesterov", self.nesterov),
            weight_decay=within("weight_decay", self.weight_decay, 0.0, math.inf),
        )
        if self.nesterov and self.momentum == 0.0:
            raise InputError("nesterov=True with momentum=0.", "Give a momentum above 0, or leave nesterov out.")

    def torch(self, parameters: ParamsT, lr: float) -> optim.Optimizer:
        """``torch.optim.SGD``."""
        from torch.optim import SGD

        return SGD(parameters, lr=lr, momentum=self.momentum, nesterov=self.nesterov, weight_decay=self.weight_decay)

    @property
    def state_numbers(self) -> int:
        """1 with momentum: v; else 0."""
        return 1 if self.momentum else 0

    def scratch_numbers(self, *, together: bool) -> int:
        """Weight decay makes a new gradient; so does Nesterov momentum, but in place for all parameters at once."""
        return (1 if self.weight_decay else 0) + (1 if self.nesterov and not together else 0)

    def effective_lr(self, lr: Rate) -> Rate:
        """lr/(1 − μ), with Nesterov momentum as without."""
        return lr / (1.0 - self.momentum)

    def effective_rates(self, rates: NDArray[np.float64]) -> NDArray[np.float64]:
        """η_t (1 − μᵗ⁺¹)/(1 − μ), in Nesterov's form η_t (1 − μᵗ⁺²)/(1 − μ): the sum of the velocity's weights."""
        power = np.arange(1, len(rates) + 1) + (1 if self.nesterov else 0)
        return rates * (1.0 - self.momentum**power) / (1.0 - self.momentum)

    def stability_limit(self, sharpness: float) -> float:
        """2(1 + μ)/λ, in Nesterov's form 2(1 + μ)/((1 + 2μ) λ).

        Source: Polyak, *Some methods of speeding up the convergence of iteration methods*, 1964; Nesterov's step looks
        ahead, and the largest root of its characteristic polynomial x² − (1 + μ)(1 − ηλ) x + μ(1 − ηλ) passes −1 there.
        """
        if sharpness <= 0:
            return math.inf
        return 2.0 * (1.0 + self.momentum) / (1.0 + 2.0 * self.momentum * self.nesterov) / sharpness

    def stability_share(self, lr: float, sharpness: float) -> float:
        """``lr`` over `stability_limit`."""
        ahead = 1.0 + 2.0 * self.momentum * self.nesterov
        return lr * sharpness / 2.0 / (1.0 + self.momentum) * ahead

    @classmethod
    def reference(cls, candidates: Sequence[tuple[Sgd, float]], *, stability_limit: float) -> tuple[Sgd, float]:
        """With `REFERENCE_MOMENTUM`, at the (logarithmic) median of the candidates' effective learning rates.

        Only of those within `SAFE_SHARE` of the stability limit.
        """
        most = SAFE_SHARE * stability_limit
        rates = [optimizer.effective_lr(lr) for optimizer, lr in candidates]
        within_limit = [rate for rate in rates if rate <= most] or [min(most, min(rates))]
        lr = math.exp(float(np.median(np.log(within_limit)))) * (1.0 - REFERENCE_MOMENTUM)
        return cls(momentum=REFERENCE_MOMENTUM), lr

    def describe(self) -> dict[str, str]:
        """``momentum 0.9`` or ``nesterov 0.9``, ``decay 0.01``."""
        pieces = {}
        if self.momentum:
            pieces["momentum"] = f"{'nesterov' if self.nesterov else 'momentum'} {self.momentum:.3g}"
        if self.weight_decay:
            pieces["weight_decay"] = f"decay {self.weight_decay:.3g}"
        return pieces
