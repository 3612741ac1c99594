"""Decay with the inverse square root of the step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from raytt.task.checks import within
from raytt.task.schedules._base import Schedule


@dataclass(frozen=True, kw_only=True)
class InverseSqrt(Schedule):
    """factor(t) = √(timescale/(t + timescale)).

    It does not depend on the budget, so a run can be stopped or prolonged at any step.

    Source: transformers' ``get_inverse_sqrt_schedule``, which takes the step s = W + t from the start of the run and
    shifts it by timescale − W, so that the factor after W steps of warm-up is 1 and depends on t alone. Its default
    timescale is W, or 10,000 without a warm-up; a schedule here does not know W, so there is no default: give W to get
    the learning rate ∝ 1/√s of Vaswani et al. 2017, arXiv 1706.03762, equation 3.
    """

    name: ClassVar[str] = "inverse_sqrt"

    timescale: float
    """Steps > 0 after which the learning rate is lr/√2, and after three times as many lr/2."""

    def __post_init__(self) -> None:
        self._set(timescale=within("timescale", self.timescale, 0.0, math.inf, open_low=True))

    def after_warmup(self, t: NDArray[np.float64], span: int, lr: float) -> NDArray[np.float64]:
        """1/√((t + timescale)/timescale)."""
        factors: NDArray[np.float64] = 1.0 / np.sqrt((t + self.timescale) / self.timescale)
        return factors

    def describe(self) -> str:
        """``inverse_sqrt 1000``: with a timescale of 1,000 steps."""
        return f"{self.name} {self.timescale:g}"
