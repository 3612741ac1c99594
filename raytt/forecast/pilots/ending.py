"""A candidate that was trained to the end of its budget, with what was evaluated on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raytt.forecast.pilots.pilot_run import PilotRun
from raytt.task.early_stopping import EarlyStopping
from raytt.task.rank_objective import OBJECTIVES, RankObjective

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Ending:
    """What it did."""

    run: PilotRun
    """Its minibatch losses."""
    steps: Floats
    """Updates done at each evaluation, shape (R,), increasing from 0."""
    curves: Mapping[str, Floats]
    """What was evaluated, by name ("val_loss", …), shape (R,)."""

    def final(
        self, objective: RankObjective, stopping: EarlyStopping | None, *, steps_per_epoch: float
    ) -> tuple[dict[str, float], float, float]:
        """Quality by objective, the step at which the run ended, and the one whose weights are kept.

        Args:
            objective: What early stopping looks at.
            stopping: None: the run ended with its budget, and the last weights are kept.
            steps_per_epoch: For evaluations once an epoch.
        """
        smooth = self.run.curve
        curves = dict(self.curves) | {"train_loss": np.interp(self.steps, np.arange(len(smooth)), smooth)}
        end = kept = float(len(smooth))
        if stopping is not None:
            looks = stopping.evaluations(len(smooth), steps_per_epoch=steps_per_epoch)
            last, best = stopping.ends(np.interp(looks, self.steps, objective.sign * curves[objective.curve]))
            end, kept = float(looks[last]), float(looks[best])
        known = [o for o in OBJECTIVES if o.curve in curves]
        return {o.name: float(np.interp(kept, self.steps, curves[o.curve])) for o in known}, end, kept
