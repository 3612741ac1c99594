"""Cosine decay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from raytt.task.schedules._base import DecayToMinLr


@dataclass(frozen=True, kw_only=True)
class Cosine(DecayToMinLr):
    """factor(t) = f + (1 − f) · ½(1 + cos(π t/span)), f = min_lr/lr.

    Source: Loshchilov and Hutter 2017, arXiv 1608.03983, equation 5, one period; torch's ``CosineAnnealingLR`` with
    T_max = span and eta_min = min_lr; with min_lr = 0 transformers' ``get_cosine_schedule_with_warmup``.
    """

    name: ClassVar[str] = "cosine"

    def _decay(self, t: NDArray[np.float64], span: int) -> NDArray[np.float64]:
        return 0.5 * (1.0 + np.cos(np.pi * t / span))
