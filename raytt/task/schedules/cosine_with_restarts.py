"""Cosine decay, several times over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from raytt.task.checks import whole
from raytt.task.schedules._base import Schedule


@dataclass(frozen=True, kw_only=True)
class CosineWithRestarts(Schedule):
    """factor(t) = ½(1 + cos(π p)), p = num_cycles · t/span mod 1.

    Source: transformers' ``get_cosine_with_hard_restarts_schedule_with_warmup``; the restarts are those of Loshchilov
    and Hutter 2017, arXiv 1608.03983, with cycles of equal length.
    """

    name: ClassVar[str] = "cosine_with_restarts"

    num_cycles: int = 1
    """Decays from lr to 0 in the budget after the warm-up, at least 1; one cycle is schedule 'cosine'."""

    def __post_init__(self) -> None:
        self._set(num_cycles=whole("num_cycles", self.num_cycles, 1))

    def after_warmup(self, t: NDArray[np.float64], span: int, lr: float) -> NDArray[np.float64]:
        """½(1 + cos(π p))."""
        # In transformers' order, whose rounding decides on which side of a restart a step is.
        progress = (self.num_cycles * (t / span)) % 1.0
        return 0.5 * (1.0 + np.cos(np.pi * progress))

    def describe(self) -> str:
        """``cosine_with_restarts ×3``: three cycles."""
        return f"{self.name} ×{self.num_cycles}"
