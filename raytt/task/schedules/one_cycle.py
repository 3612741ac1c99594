"""One cycle: up to the peak, then down far below the start."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from raytt.errors import InputError
from raytt.task.checks import flag, one_of, within
from raytt.task.schedules._base import Schedule


@dataclass(frozen=True, kw_only=True)
class OneCycle(Schedule):
    """From 1/div_factor up to 1, then down to 1/(div_factor · final_div_factor).

    With a = 1/div_factor, z = a/final_div_factor and N = span, the factor goes from knot to knot

    * two phases: (0, a), (pct_start·N − 1, 1), (N − 1, z);
    * three phases: (0, a), (pct_start·N − 1, 1), (2·pct_start·N − 2, a), (N − 1, z),

    along end + (start − end) · ½(1 + cos(π p)) or start + (end − start) · p, where p from 0 to 1 is the share of the
    way between two knots.

    ``lr`` is torch's max_lr. The schedule has a warm-up of its own, so ``warmup_steps`` is usually 0. The momentum is
    not cycled: it stays what the optimizer has, as with torch's ``cycle_momentum=False``, whereas torch's default is to
    cycle it between 0.85 and 0.95.

    Source: torch's ``OneCycleLR`` with total_steps = span and cycle_momentum = False; after Smith and Topin 2018, arXiv
    1708.07120. Where pct_start·N = 1 the rise has no length and torch divides by zero; here step 0 is at the peak.
    """

    name: ClassVar[str] = "one_cycle"

    pct_start: float = 0.3
    """Share of the steps on which the learning rate rises, in [0, 1]."""
    div_factor: float = 25.0
    """lr over the learning rate of the first step, at least 1."""
    final_div_factor: float = 1e4
    """Learning rate of the first step over that of the last, above 0; times div_factor at least 1."""
    anneal_strategy: str = "cos"
    """Shape of each phase, ``cos`` or ``linear``."""
    three_phase: bool = False
    """Whether the descent mirrors the rise before the learning rate falls to its end."""

    def __post_init__(self) -> None:
        self._set(
            pct_start=within("pct_start", self.pct_start, 0.0, 1.0),
            div_factor=within("div_factor", self.div_factor, 1.0, math.inf),
            final_div_factor=within("final_div_factor", self.final_div_factor, 0.0, math.inf, open_low=True),
            anneal_strategy=one_of("anneal_strategy", self.anneal_strategy, ("cos", "linear")),
            three_phase=flag("three_phase", self.three_phase),
        )
        if self.div_factor * self.final_div_factor < 1.0:
            raise InputError(
                f"div_factor · final_div_factor is {self.div_factor * self.final_div_factor:g}, below 1: the last "
                f"learning rate would be above lr, the peak.",
                f"Give a final_div_factor of at least {1.0 / self.div_factor:g}.",
            )

    def after_warmup(self, t: NDArray[np.float64], span: int, lr: float) -> NDArray[np.float64]:
        """The factor on the way between two knots."""
        knots = self._knots(span)
        factors = np.full(t.shape, knots[-1][1])
        to_do = np.ones(t.shape, dtype=bool)
        for (begin, start), (end, stop) in itertools.pairwise(knots):
            # Torch's rule: the first phase that ends at the step or later, however early the phase before it ended.
            here = to_do & (t <= end)
            share = (t[here] - begin) / (end - begin) if end > begin else np.ones(np.count_nonzero(here))
            factors[here] = self._between(start, stop, share)
            to_do &= ~here
        return factors

    def _knots(self, span: int) -> list[tuple[float, float]]:
        start = 1.0 / self.div_factor
        knots = [(0.0, start), (self.pct_start * span - 1.0, 1.0)]
        if self.three_phase:
            knots.append((2.0 * self.pct_start * span - 2.0, start))
        return [*knots, (span - 1.0, start / self.final_div_factor)]

    def _between(self, start: float, stop: float, share: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.anneal_strategy == "linear":
            return (stop - start) * share + start
        return stop + (start - stop) / 2.0 * (np.cos(np.pi * share) + 1.0)

    def describe(self) -> str:
        """``one_cycle 0.3 /25 /1e+04``: share of the rise and both divisors, then what is not torch's default."""
        words = [self.name, f"{self.pct_start:.3g}", f"/{self.div_factor:.3g}", f"/{self.final_div_factor:.3g}"]
        words += [self.anneal_strategy] if self.anneal_strategy != "cos" else []
        words += ["three-phase"] if self.three_phase else []
        return " ".join(words)
