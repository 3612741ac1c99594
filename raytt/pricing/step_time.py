"""Seconds per training step: the number, its interval, and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np


class Origin(StrEnum):
    """Where a step time comes from, the most trustworthy first."""

    GIVEN = "given"
    TIMED = "timed"
    TRANSFERRED = "transferred"
    COUNTED = "counted"


@dataclass(frozen=True, kw_only=True)
class StepTime:
    """How long a training step takes at one batch size."""

    batch_size: int
    """B, samples per step."""
    seconds: float
    """Median, seconds."""
    low: float
    """Lower end of its interval, seconds; of timed steps their 10 % quantile."""
    high: float
    """Upper end of its interval, seconds; of timed steps their 90 % quantile."""
    source: str
    """How and where it was obtained, for the reader."""
    origin: Origin = Origin.TIMED
    """The kind of that source."""
    device: str | None = None
    """What the accelerator on which it was timed calls itself; None for a CPU, and where it was not timed."""
    count: int | None = None
    """Steps that were timed, the fewest where several batch sizes told it; None where that is not known."""

    def __post_init__(self) -> None:
        # Stored ones come back with a string.
        object.__setattr__(self, "origin", Origin(self.origin))
        if not 0.0 < self.low <= self.seconds <= self.high < np.inf:
            raise ValueError(f"step time {self.seconds} s with interval {self.low}…{self.high} s")

    def repeated(self, times: int) -> StepTime:
        """Of a step with gradient accumulation over ``times`` minibatches, from that of a step with one.

        So many times as long; the one update that it makes is counted as often, which is little beside the gradients.
        """
        if times == 1:
            return self
        return replace(
            self,
            seconds=times * self.seconds,
            low=times * self.low,
            high=times * self.high,
            source=f"{times} times: {self.source}",
        )
