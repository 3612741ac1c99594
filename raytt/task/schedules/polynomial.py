"""Decay with a power of the share of the budget that is left."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from raytt.task.checks import within
from raytt.task.schedules._base import DecayToMinLr


@dataclass(frozen=True, kw_only=True)
class Polynomial(DecayToMinLr):
    """factor(t) = f + (1 − f)(1 − t/span)^power, f = min_lr/lr.

    Source: transformers' ``get_polynomial_decay_schedule_with_warmup`` with lr_end = min_lr (its default is 1e-7, here
    it is 0); with min_lr = 0 torch's ``PolynomialLR`` with total_iters = span.
    """

    name: ClassVar[str] = "polynomial"

    power: float = 1.0
    """Exponent > 0: 1 is linear, above 1 the decay is fast at first."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set(power=within("power", self.power, 0.0, math.inf, open_low=True))

    def _decay(self, t: NDArray[np.float64], span: int) -> NDArray[np.float64]:
        decay: NDArray[np.float64] = (1.0 - t / span) ** self.power
        return decay

    def describe(self) -> str:
        """``polynomial^2``, and ``polynomial^2 to 1e-05`` with a ``min_lr``."""
        return super().describe().replace(self.name, f"{self.name}^{self.power:.3g}")
