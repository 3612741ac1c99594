"""An observed trial as a pilot: known at its reports only, and for nothing.

Notation: s_1 < s_2 < … steps of the reports, s_0 = 0 the start, where the loss is that of the pre-trained weights.

Between reports the loss is taken to go straight. Where in (s_r−1, s_r) a level was really passed is known less well for
it: an even chance over the gap has the standard deviation (s_r − s_r−1)/√12, which as a share of the step is added to
the noise of ln t. Losses of the steps between two reports are no independent ones: their scatter tells as much as that
of the reports alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from raytt.forecast.pilots.observed_trial import ObservedTrial
from raytt.forecast.pilots.pilot_run import PilotRun
from raytt.rates.reference import HOPELESS
from raytt.rates.smoothing import first_crossing
from raytt.task.candidate import Candidate
from raytt.task.target import Target

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class ObservedRun(PilotRun):
    """A trial's run; its ``losses`` go straight between reports, and are none where no training loss was reported."""

    how: ClassVar[str] = "seen in a real trial"

    reports: Floats
    """0, s_1, s_2, … of the curve that the target is on."""
    last: int
    """Steps done at the last report."""

    @property
    def steps_taken(self) -> int:
        """Up to the last report."""
        return self.last

    def gap(self, step: float) -> float:
        """Steps between the reports around ``step``, at least 1."""
        if len(self.reports) < 2:
            return 1.0
        after = int(np.clip(np.searchsorted(self.reports, step), 1, len(self.reports) - 1))
        return max(1.0, float(self.reports[after] - self.reports[after - 1]))

    def unseen(self, step: float) -> float:
        """The gap over √12 times the step; 0 where every step was reported."""
        gap = self.gap(step)
        return 0.0 if gap <= 1.0 else gap / (math.sqrt(12.0) * max(step, 1.0))


def observed_run(
    trial: ObservedTrial, candidate: Candidate, *, budget: int, target: Target, initial_loss: float, start: float
) -> ObservedRun | None:
    """The run of a trial; None where it did not report the curve that the target is on.

    Args:
        trial: What it showed.
        candidate: Its configuration.
        budget: Steps at which its schedule ends.
        target: The event.
        initial_loss: Training loss at the pre-trained weights.
        start: Initial value of the curve that the target is on.
    """
    steps, values = trial.reports(target.curve)
    if not len(steps):
        return None
    at, losses = trial.reports("train_loss")
    if trial.averaged:
        at = (at + np.concatenate([[0.0], at[:-1]])) / 2.0
    diverged = bool((~np.isfinite(losses) | (losses > HOPELESS * abs(initial_loss))).any())
    finite = np.isfinite(losses)
    found = _every_step(at[finite], losses[finite], initial_loss)
    if target.curve == "train_loss":
        reports, met = _from_start(at[finite]), None
    else:
        sign = -1.0 if target.on_accuracy else 1.0
        reports = _from_start(steps)
        known = np.concatenate([[start], values])[-len(reports) :]
        crossing = first_crossing(reports, sign * known, sign * float(target.level(start)))
        met = crossing if math.isfinite(crossing) else None
    return ObservedRun(
        candidate=candidate,
        budget=budget,
        losses=found,
        diverged=diverged,
        target=None if target.curve == "train_loss" else target,
        met=met,
        reports=reports,
        last=int(trial.steps[-1]),
    )


def _from_start(steps: Floats) -> Floats:
    return steps if len(steps) and steps[0] == 0.0 else np.concatenate([[0.0], steps])


def _every_step(at: Floats, losses: Floats, initial_loss: float) -> Floats:
    """Losses of steps 0, 1, … up to the last report; none where there was none."""
    if not len(at):
        return np.zeros(0)
    reports = _from_start(at)
    known = np.concatenate([[initial_loss], losses])[-len(reports) :]
    return np.asarray(np.interp(np.arange(int(at[-1]) + 1, dtype=np.float64), reports, known))
