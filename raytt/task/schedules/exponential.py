"""Decay by the same factor at every step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from raytt.task.checks import within
from raytt.task.schedules._base import Schedule


@dataclass(frozen=True, kw_only=True)
class Exponential(Schedule):
    """factor(t) = gamma^t.

    Source: torch's ``ExponentialLR``, stepped once per training step (torch's examples step it once per epoch of n
    steps: give the n-th root of their gamma).
    """

    name: ClassVar[str] = "exponential"

    gamma: float
    """Factor per step, in [0, 1]; 0.999 is a tenth after 2,301 steps."""

    def __post_init__(self) -> None:
        self._set(gamma=within("gamma", self.gamma, 0.0, 1.0))

    def after_warmup(self, t: NDArray[np.float64], span: int, lr: float) -> NDArray[np.float64]:
        """gamma^t; 0⁰ = 1."""
        factors: NDArray[np.float64] = self.gamma**t
        return factors

    def describe(self) -> str:
        """``exponential ×0.9995``: the factor per step."""
        return f"{self.name} ×{self.gamma:.6g}"
