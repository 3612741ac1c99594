"""Decay by a factor every so many steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from raytt.task.checks import whole, within
from raytt.task.schedules._base import Schedule


@dataclass(frozen=True, kw_only=True)
class Step(Schedule):
    """factor(t) = gamma^⌊t/step_size⌋.

    Source: torch's ``StepLR``, counted in steps after the warm-up.
    """

    name: ClassVar[str] = "step"

    step_size: int
    """Steps between decays, at least 1."""
    gamma: float = 0.1
    """Factor of each decay, in [0, 1]."""

    def __post_init__(self) -> None:
        self._set(step_size=whole("step_size", self.step_size, 1), gamma=within("gamma", self.gamma, 0.0, 1.0))

    def after_warmup(self, t: NDArray[np.float64], span: int, lr: float) -> NDArray[np.float64]:
        """gamma^⌊t/step_size⌋; 0⁰ = 1."""
        factors: NDArray[np.float64] = self.gamma ** (t // self.step_size)
        return factors

    def describe(self) -> str:
        """``step 50×0.1``: every 50 steps, to a tenth."""
        return f"{self.name} {self.step_size}×{self.gamma:.3g}"
