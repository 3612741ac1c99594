"""Final qualities of all candidates of a prediction, corrected by pilots that were trained to their ends."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from raytt.errors import InputError
from raytt.forecast.final_quality import (
    PAST_END,
    Checkpoint,
    Estimate,
    FinalQuality,
    QualityCurve,
    QualityStatus,
    estimates,
    progress,
)
from raytt.forecast.pilots.ending import Ending
from raytt.forecast.pilots.final_residuals import learned
from raytt.forecast.predicted_curves import PredictedCurves
from raytt.forecast.stopping import predicted_stop
from raytt.task.candidate import Candidate
from raytt.task.early_stopping import EarlyStopping
from raytt.task.rank_objective import OBJECTIVES, RankObjective, usual_objective

Floats = NDArray[np.float64]

_TINY = 1e-300


@dataclass(frozen=True, kw_only=True, eq=False)
class FinalQualities:
    """What follows from predicted curves for the ends of all runs."""

    budgets: Mapping[Candidate, int]
    """Steps each candidate may take."""
    curves: Mapping[Candidate, PredictedCurves]
    """Of each."""
    num_samples_full: int
    """N_full, for epochs."""
    unstable: Mapping[Candidate, str]
    """Why some are taken to diverge."""
    untrusted: Mapping[Candidate, Sequence[str]]
    """Reasons not to trust what is predicted of each; none where there are none."""
    doubts: Mapping[Candidate, Sequence[str]]
    """Slighter ones."""
    endings: Sequence[Ending]
    """Pilots that were trained to the ends of their budgets."""
    stopping: EarlyStopping | None
    """How runs are ended; None: with their budgets."""

    @cached_property
    def known(self) -> tuple[str, ...]:
        """Objectives whose curves are predicted of all candidates."""
        return tuple(o.name for o in OBJECTIVES if all(o.curve in found.curves for found in self.curves.values()))

    def qualities(self, objective: str | None = None) -> dict[Candidate, FinalQuality]:
        """What each candidate has at the end of its own budget, or where early stopping ends it.

        Args:
            objective: What early stopping looks at and of which the progress is kept; None: the first of `OBJECTIVES`
                that is known.

        Raises:
            InputError: If the objective is on a curve that was not evaluated.
        """
        name = usual_objective(self.known) if objective is None else objective
        if name not in self.known:
            raise InputError(
                f"Objective {objective!r} is on a curve that the reference runs did not evaluate.",
                f"Take one of: {', '.join(self.known)}.",
            )
        chosen = OBJECTIVES.get(name)
        found = {candidate: self._predicted(candidate, chosen) for candidate in self.budgets}
        if not self.endings:
            return found
        for one in (OBJECTIVES.get(known) for known in self.known):
            shifts = zip(*self._shifts(one), strict=True)
            for candidate, shift, spread in shifts:
                if found[candidate].of(one.name) is not None:
                    found[candidate] = self._corrected(candidate, found[candidate], one, shift, spread, one is chosen)
        for ending in self.endings:
            candidate = ending.run.candidate
            if found[candidate].estimates and not ending.run.diverged:
                found[candidate] = self._as_it_was(found[candidate], ending, chosen)
        return found

    def errors(self, objective: RankObjective) -> tuple[Sequence[Candidate], Floats, Floats]:
        """Candidates in an order, posterior mean (m,) and covariance (m, m) of u_real − u_predicted at their ends."""
        spreads, errors = {}, {}
        real = {ending.run.candidate: ending for ending in self.endings if not ending.run.diverged}
        for candidate, budget in self.budgets.items():
            curve = QualityCurve(objective=objective, predicted=self.curves[candidate])
            estimate = curve.estimate(float(budget))
            spreads[candidate] = curve.spread_of(estimate)
            if candidate in real:
                values, *_ = real[candidate].final(objective, None, steps_per_epoch=self._per_epoch(candidate))
                errors[candidate] = curve.error_of(estimate, values[objective.name])
        return learned(self.budgets, spreads, errors)

    def _per_epoch(self, candidate: Candidate) -> float:
        return self.num_samples_full / candidate.samples_per_step

    def _shifts(self, objective: RankObjective) -> tuple[Sequence[Candidate], list[float], list[float]]:
        """Candidates, means and standard deviations of their errors."""
        order, means, covariance = self.errors(objective)
        return order, means.tolist(), np.sqrt(np.maximum(np.diag(covariance), 0.0)).tolist()

    def _predicted(self, candidate: Candidate, objective: RankObjective) -> FinalQuality:
        """Without pilots."""
        predicted, budget = self.curves[candidate], self.budgets[candidate]
        doubts, unstable = tuple(self.doubts[candidate]), self.unstable.get(candidate)
        if unstable is not None or predicted.over_limit:
            return FinalQuality(
                status=QualityStatus.UNSTABLE,
                steps=float(budget),
                kept=float(budget),
                estimates={},
                doubts=doubts if unstable is None else (unstable,),
            )
        curve = QualityCurve(objective=objective, predicted=predicted)
        steps = kept = float(budget)
        low = high = None
        if self.stopping is not None:
            stop = predicted_stop(curve, self.stopping, budget, steps_per_epoch=self._per_epoch(candidate))
            steps, kept, low, high = stop.steps, stop.kept, stop.low, stop.high
        untrusted = tuple(self.untrusted[candidate])
        further = curve.beyond(kept) > math.log(PAST_END)
        status = QualityStatus.EXTRAPOLATED if further else QualityStatus.PREDICTED
        return FinalQuality(
            status=QualityStatus.UNTRUSTED if untrusted else status,
            steps=steps,
            kept=kept,
            estimates=estimates(predicted, kept),
            progress=progress(curve, steps),
            steps_low=low,
            steps_high=high,
            doubts=(*doubts, *untrusted),
        )

    def _corrected(
        self,
        candidate: Candidate,
        quality: FinalQuality,
        objective: RankObjective,
        shift: float,
        spread: float,
        chosen: bool,
    ) -> FinalQuality:
        """With what pilots say of the error at its end; earlier, where less is in doubt, less was wrong."""
        curve = QualityCurve(objective=objective, predicted=self.curves[candidate])
        before = max(curve.spread_of(curve.estimate(float(self.budgets[candidate]))), _TINY)

        def moved(estimate: Estimate) -> Estimate:
            return curve.corrected(estimate, shift * curve.spread_of(estimate) / before, spread / before)

        found = replace(
            quality, estimates={**quality.estimates, objective.name: moved(quality.estimates[objective.name])}
        )
        if not chosen:
            return found
        points = tuple(Checkpoint(step=p.step, estimate=moved(p.estimate)) for p in quality.progress)
        return replace(found, progress=points)

    def _as_it_was(self, quality: FinalQuality, ending: Ending, objective: RankObjective) -> FinalQuality:
        """The quality of a pilot: that of its run, with the interval that another run of the same may have."""
        candidate = ending.run.candidate
        values, end, kept = ending.final(objective, self.stopping, steps_per_epoch=self._per_epoch(candidate))
        found = {}
        for name, before in quality.estimates.items():
            curve = QualityCurve(objective=OBJECTIVES.get(name), predicted=self.curves[candidate])
            found[name] = curve.corrected(before, curve.error_of(before, values[name]), 1.0)
        return replace(
            quality,
            status=QualityStatus.PREDICTED,
            steps=end,
            kept=kept,
            estimates=found,
            steps_low=None if quality.steps_low is None else min(quality.steps_low, end),
            steps_high=None if quality.steps_high is None else max(quality.steps_high, end),
            doubts=("trained for real as a pilot: its final quality is that of that one run",),
        )
