"""A candidate that was trained for a while, and where its smoothed loss passed given levels.

Notation: ℓ_t loss of minibatch t, L(t) their local linear fit (`raytt.rates.smoothing`) with weights K_u, σ standard
deviation of ℓ around L within the window.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from raytt.rates.smoothing import LEAST_WINDOW, WINDOW, first_crossing, smoothed
from raytt.task.candidate import Candidate
from raytt.task.target import Target

Floats = NDArray[np.float64]

LEAST_NOISE = 0.05
"""Standard error of the logarithm of a crossing below which nothing is believed to be known."""
MET_NOISE = 0.25
"""The same of the step at which a run met a target on a curve that is evaluated now and then and fluctuates. A
judgement: where the level is first crossed is then a matter of chance."""
ROUNDING = 1e-9
"""Falls over a window, as shares of the loss, that are none."""
MOST_NOISE = 0.5
"""Beyond it a crossing says nothing anyway."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PilotRun:
    """What a pilot's training did."""

    how: ClassVar[str] = "trained for real as a pilot"
    """How it came about, in words."""

    candidate: Candidate
    """Its configuration."""
    budget: int
    """Steps at which its schedule ends."""
    losses: Floats
    """ℓ_t of the steps taken, shape (T,)."""
    diverged: bool
    """Whether the loss became infinite or far larger than at the start."""
    target: Target | None = None
    """What it was evaluated for, where that is not on the training loss."""
    met: float | None = None
    """The step at which it met that, between evaluations interpolated; None if it did not."""

    @cached_property
    def curve(self) -> Floats:
        """L(t), shape (T,)."""
        return smoothed(self.losses)

    @property
    def finished(self) -> bool:
        """Whether it took its whole budget."""
        return self.steps_taken >= self.budget

    @property
    def steps_taken(self) -> int:
        """How many it took."""
        return len(self.losses)

    def gap(self, step: float) -> float:
        """Steps around ``step`` that share an observed loss."""
        return 1.0

    def unseen(self, step: float) -> float:
        """Standard error of ln t of a crossing at t = ``step`` because not every loss around it was seen."""
        return 0.0

    def steps_to(self, level: float) -> float:
        """The step at which L is first at most ``level``; +inf if not within the steps taken."""
        return first_crossing(np.arange(len(self.curve), dtype=np.float64), self.curve, level)

    def noise(self, step: float) -> float:
        """Standard error of ln t of a crossing at t = ``step``, from the scatter of minibatch losses around L.

        The variance of L is σ² Σ K² / (Σ K)²; divided by the slope dL/d ln t it is that of ln t.
        """
        steps = len(self.losses)
        width = max(LEAST_WINDOW, WINDOW * step)
        near = np.arange(max(0, math.ceil(step - width)), min(steps, math.floor(step + width) + 1))
        weight = (1.0 - np.abs((near - step) / width) ** 3) ** 3
        first, last = int(near[0]), int(near[-1])
        # By how much the curve falls per unit of ln t, across the window.
        fall = float(self.curve[first] - self.curve[last]) / max(math.log((last + 1.0) / (first + 1.0)), 1e-9)
        scatter = float(np.std(self.losses[near] - self.curve[near]))
        error = scatter * math.sqrt(self.gap(step) * float(weight @ weight)) / float(weight.sum())
        # Weights that are normalised differ by rounding, and so does a curve that stands still.
        if not (math.isfinite(error) and fall > ROUNDING * abs(float(self.curve[first]))):
            return MOST_NOISE
        return min(MOST_NOISE, math.hypot(LEAST_NOISE, error / fall, self.unseen(step)))


@dataclass(frozen=True, kw_only=True)
class Passing:
    """A level that a pilot passed."""

    depth: float
    """d = ln(initial loss / level)."""
    steps: float
    """Where, steps."""
    noise: float
    """Standard error of ln steps."""


EARLIEST = 4.0
"""Levels passed before this step are left out: the smoothing there covers a few minibatches only."""
SPACING = 0.3
"""Distance of the levels in ln of the loss, at most."""


def depths_to(target: float) -> Floats:
    """Evenly spaced depths, the last of which is ``target`` > 0."""
    count = max(2, math.ceil(target / SPACING))
    return np.linspace(target / count, target, count)


def passings(run: PilotRun, initial_loss: float, depths: Sequence[float] | Floats) -> list[Passing]:
    """The levels that a pilot passed, in the order of ``depths``.

    The last depth is that of the target. Of a pilot that was evaluated for one on another curve than the training loss
    that is all that is taken: where the reference run had which training loss, smoothed from few minibatches, is known
    less well than where it met the target, and an error of it would be one of all pilots alike.
    """
    if run.target is not None:
        if run.met is None or run.met < EARLIEST:
            return []
        return [Passing(depth=float(depths[-1]), steps=run.met, noise=math.hypot(MET_NOISE, run.unseen(run.met)))]
    found = []
    for depth in depths:
        steps = run.steps_to(initial_loss * math.exp(-depth))
        if EARLIEST <= steps < math.inf:
            found.append(Passing(depth=float(depth), steps=steps, noise=run.noise(steps)))
    return found
