"""No decay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from raytt.task.schedules._base import Schedule


@dataclass(frozen=True, kw_only=True)
class Constant(Schedule):
    """factor(t) = 1.

    Source: transformers' ``get_constant_schedule_with_warmup``; torch's ``ConstantLR`` with factor 1.
    """

    name: ClassVar[str] = "constant"

    def after_warmup(self, t: NDArray[np.float64], span: int, lr: float) -> NDArray[np.float64]:
        """1 at every step."""
        return np.ones(t.shape)
