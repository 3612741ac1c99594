"""What a reference run in training mode did: its loss along learning-rate time, and quality evaluated on the way."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raytt.rates.evaluation import Metrics
from raytt.rates.lag import LagTable
from raytt.rates.quality import QualityPath
from raytt.rates.smoothing import first_crossing, sharpened, smoothed
from raytt.rates.walk import ReferencePath
from raytt.task.candidate import Candidate
from raytt.task.target import Target

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingReference:
    """What a reference run in training mode did."""

    candidate: Candidate
    """Its configuration, as it ended."""
    losses: Floats
    """Loss of minibatch t before update t, shape (T,)."""
    times: Floats
    """τ after t = 0 … T updates, shape (T + 1,)."""
    point_steps: tuple[int, ...]
    """Updates done at the saved states, from 0."""
    evaluated: tuple[tuple[int, Metrics], ...]
    """Updates done, and quality in eval mode there; none where nothing was evaluated."""
    wasted_steps: int
    """Steps of attempts that were given up."""
    stopped: str
    """Why it stopped."""
    start_loss: float | None = None
    """Mean loss of all minibatches of the rates at the pre-trained weights; None: the run's own first ones, smoothed,
    which are few."""

    @property
    def family(self) -> str:
        """What it stands for: an optimizer, with the arguments of the model where there are any."""
        return self.candidate.family

    @property
    def note(self) -> str:
        """Its configuration, in one sentence."""
        c = self.candidate
        pieces = "".join(f", {piece}" for piece in c.optimizer.describe().values())
        accumulated = f" accumulated over {c.accumulation_steps}" if c.accumulation_steps > 1 else ""
        return (
            f"Reference run in training mode: {c.family}, lr {c.lr:.3g}{pieces}, batch {c.batch_size}"
            f"{accumulated}, {len(self.losses)} steps ({self.wasted_steps} more in abandoned attempts), stopped "
            f"{self.stopped}."
        )

    def path(self) -> ReferencePath:
        """Its loss along its own learning-rate time, without what smoothing lifts the first steps by."""
        return ReferencePath(
            candidate=self.candidate, times=self.times[: len(self.losses)], losses=sharpened(smoothed(self.losses))
        )

    @property
    def initial_loss(self) -> float:
        """Loss at the pre-trained weights, to which shares refer."""
        return float(smoothed(self.losses)[0]) if self.start_loss is None else self.start_loss

    def depth(self, target: Target) -> float:
        """ln(initial / training loss) where it met a target: at its end at the latest, if that is on another curve."""
        path = self.path()
        if target.curve == "train_loss":
            level = float(target.level(self.initial_loss))
            return math.log(self.initial_loss / level) if level > 0.0 else math.nan
        at = min(self.met(target), len(self.losses) - 1.0)
        loss = float(np.interp(at, np.arange(len(path.losses)), path.losses))
        return math.log(self.initial_loss / loss) if loss > 0.0 else math.nan

    def met(self, target: Target) -> float:
        """Updates after which it met a target on a curve that was evaluated; +inf if it did not."""
        steps, found = zip(*self.evaluated, strict=True)
        curve = np.asarray([getattr(metrics, target.curve) for metrics in found])
        sign = -1.0 if target.on_accuracy else 1.0
        return first_crossing(np.asarray(steps, dtype=np.float64), sign * curve, sign * float(target.level(curve[0])))

    def quality(self, lag: LagTable | None) -> QualityPath | None:
        """Quality along the same time; None where nothing was evaluated."""
        if not self.evaluated:
            return None
        steps, found = zip(*self.evaluated, strict=True)
        return QualityPath(
            times=self.times,
            steps=steps,
            curves={name: np.asarray([metrics.curves()[name] for metrics in found]) for name in found[0].curves()},
            lag=lag,
            updates=self.candidate.accumulation_steps,
        )
