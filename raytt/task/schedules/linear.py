"""Linear decay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from raytt.task.schedules._base import DecayToMinLr


@dataclass(frozen=True, kw_only=True)
class Linear(DecayToMinLr):
    """factor(t) = f + (1 − f)(1 − t/span), f = min_lr/lr.

    Source: torch's ``LinearLR`` with start_factor = 1, end_factor = min_lr/lr and total_iters = span; with min_lr = 0
    transformers' ``get_linear_schedule_with_warmup``.
    """

    name: ClassVar[str] = "linear"

    def _decay(self, t: NDArray[np.float64], span: int) -> NDArray[np.float64]:
        return 1.0 - t / span
