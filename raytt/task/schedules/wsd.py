"""Warm-up, stable, decay."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from raytt.errors import InputError
from raytt.task.checks import one_of, whole, within
from raytt.task.schedules._base import Schedule


@dataclass(frozen=True, kw_only=True)
class WarmupStableDecay(Schedule):
    """Constant until the last D steps, on which it decays (the warm-up is the one that every schedule may have).

    factor(t) = 1 for t < span − D; then, with p = (t − span + D)/D, f + (1 − f) · decay(p), f = min_lr_ratio, where
    decay(p) is 1 − p (linear), ½(1 + cos πp) (cosine) or 1 − √p (1-sqrt). D is ``decay_steps``, or ``decay_share`` of
    span rounded up; at most span.

    Source: transformers' ``get_wsd_schedule`` with num_decay_steps = D, num_stable_steps = span − D and its default
    num_cycles = 0.5; after Hu et al. 2024, arXiv 2404.06395.
    """

    name: ClassVar[str] = "wsd"

    decay_share: float | None = None
    """Share of the steps after the warm-up on which the learning rate decays, in (0, 1]; 0.1 if neither it nor
    decay_steps is given (a tenth was enough in arXiv 2404.06395)."""
    decay_steps: int | None = None
    """Steps on which it decays, at least 1; a budget that has fewer after the warm-up is all decay. At most one of
    decay_share and decay_steps."""
    min_lr_ratio: float = 0.0
    """f, the learning rate at the end over lr, in [0, 1]."""
    decay_type: str = "cosine"
    """``linear``, ``cosine`` or ``1-sqrt``."""

    def __post_init__(self) -> None:
        if self.decay_share is not None and self.decay_steps is not None:
            raise InputError(
                f"Both decay_share ({self.decay_share!r}) and decay_steps ({self.decay_steps!r}) are given.",
                "Give one of the two.",
            )
        if self.decay_steps is not None:
            self._set(decay_steps=whole("decay_steps", self.decay_steps, 1))
        else:
            share = 0.1 if self.decay_share is None else self.decay_share
            self._set(decay_share=within("decay_share", share, 0.0, 1.0, open_low=True))
        self._set(
            min_lr_ratio=within("min_lr_ratio", self.min_lr_ratio, 0.0, 1.0),
            decay_type=one_of("decay_type", self.decay_type, ("linear", "cosine", "1-sqrt")),
        )

    def steps_of_decay(self, span: int) -> int:
        """D, of a budget with ``span`` steps after the warm-up."""
        if self.decay_steps is not None:
            return min(self.decay_steps, span)
        assert self.decay_share is not None
        # Rounded so that 0.07 of 300 steps are 21, not 22 because of 21.000000000000004.
        return max(1, math.ceil(round(self.decay_share * span, 6)))

    def after_warmup(self, t: NDArray[np.float64], span: int, lr: float) -> NDArray[np.float64]:
        """1 for t < span − D, then f + (1 − f) · decay(p)."""
        decay_steps = self.steps_of_decay(span)
        progress = np.maximum(t - (span - decay_steps), 0.0) / decay_steps
        if self.decay_type == "linear":
            decay = 1.0 - progress
        elif self.decay_type == "cosine":
            decay = 0.5 * (1.0 + np.cos(np.pi * progress))
        else:
            decay = 1.0 - np.sqrt(progress)
        factors: NDArray[np.float64] = decay * (1.0 - self.min_lr_ratio) + self.min_lr_ratio
        return factors

    def describe(self) -> str:
        """``wsd 0.1 cosine``, ``wsd 200 steps 1-sqrt to ×0.1``: length and shape of the decay, and where it ends."""
        length = f"{self.decay_steps} steps" if self.decay_steps is not None else f"{self.decay_share:.3g}"
        end = f" to ×{self.min_lr_ratio:.3g}" if self.min_lr_ratio else ""
        return f"{self.name} {length} {self.decay_type}{end}"
