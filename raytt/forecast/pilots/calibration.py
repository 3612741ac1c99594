"""Predictions calibrated on pilots: by how much each candidate is slower than predicted, and how well that is known.

For each optimizer family two predictions can be the mean around which residuals are learned: descent rates, or the
learning-rate time of the reference run alone. Which one is decided by the pilots left out in turn: the sum of ln of the
densities that the process learned from the others gives to each pilot's deepest residual. Learning-rate time alone is
used only where it is better by `EVIDENCE`: on the record rates were (``python -m benchmarks.rates``).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from raytt.forecast.pilots.observed_run import ObservedRun
from raytt.forecast.pilots.pilot_run import PilotRun, depths_to, passings
from raytt.forecast.pilots.residual_prior import RATES, TIME_ALONE
from raytt.forecast.pilots.residual_process import ResidualProcess
from raytt.forecast.pilots.residuals import Walker, residuals
from raytt.task.candidate import Candidate

Floats = NDArray[np.float64]

EVIDENCE = math.log(3.0)
"""By how much ln of the densities of learning-rate time must exceed those of rates."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FamilyPaths:
    """What is predicted of an optimizer's candidates without pilots, whatever the arguments of the model."""

    budgets: Mapping[Candidate, int]
    """Steps of each, in canonical order."""
    initial_losses: Mapping[Candidate, float]
    """To which depths refer; candidates with the same arguments of the model share theirs."""
    depths: Mapping[Candidate, float]
    """ln(initial loss / loss at the target) > 0, on each one's own reference run."""
    rates: Mapping[Candidate, Walker]
    """Walks by descent rates; empty where there are none, because no reference run lowered the loss."""
    time_alone: Mapping[Candidate, Walker]
    """Walks by learning-rate time alone."""

    @property
    def depth(self) -> float:
        """Of the one that goes deepest."""
        return max(self.depths.values())


@dataclass(frozen=True, kw_only=True, eq=False)
class FamilyCalibration:
    """A family's pilots and what they say of its other candidates."""

    name: str
    """Of the optimizer."""
    depth: float
    """Of the target."""
    rates: ResidualProcess
    """Residuals of descent rates."""
    time_alone: ResidualProcess
    """Residuals of learning-rate time alone."""
    rates_known: bool = True
    """Whether there are descent rates."""
    what: str = "Pilots"
    """What they are called in notes."""

    @cached_property
    def _scores(self) -> tuple[float, float]:
        """Sums of ln densities of the pilots left out in turn: rates, learning-rate time."""
        found = [sum(density for _, density in p.left_out().values()) for p in (self.rates, self.time_alone)]
        return found[0], found[1]

    @property
    def uses_rates(self) -> bool:
        """Whether descent rates are the mean."""
        rates, alone = self._scores
        return self.rates_known and alone <= rates + EVIDENCE

    @property
    def process(self) -> ResidualProcess:
        """The residuals that are used."""
        return self.rates if self.uses_rates else self.time_alone

    def residuals(self, candidates: Sequence[Candidate]) -> tuple[Floats, Floats]:
        """Mean (m,) and covariance (m, m) of ln(real/predicted) at the target."""
        return self.process.predict(candidates, self.depth)

    def paces(self, candidates: Sequence[Candidate]) -> tuple[Floats, Floats]:
        """What the progress of candidates is multiplied with, and the deviation of its logarithm, (m,) both."""
        mean, covariance = self.residuals(candidates)
        return np.exp(-mean), np.sqrt(np.maximum(np.diag(covariance), 0.0))

    @property
    def learned(self) -> bool:
        """Whether there is a residual to learn from, or nothing but pilots."""
        return not self.rates_known or any(self.process.observed.values())

    @property
    def note(self) -> str:
        """What the pilots said, in a sentence; empty without pilots that passed a level."""
        errors = [[abs(error) for error, _ in p.left_out().values()] for p in (self.rates, self.time_alone)]
        if not errors[0] and not errors[1]:
            return ""
        begin = f"{self.what} of {self.name}: left out in turn and predicted from the others, they are off by"
        rates, alone = (f"{100.0 * math.expm1(float(np.median(e))):.0f} %" if e else "nothing to say" for e in errors)
        if not self.rates_known:
            return f"{begin} {alone} at the median with the learning-rate time of the best of them."
        used = "descent rates" if self.uses_rates else "learning-rate time alone"
        return (
            f"{begin} {rates} at the median with descent rates and by {alone} with learning-rate time alone: {used}, "
            "corrected, is what the other forecasts are from."
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Calibration:
    """All families' pilots."""

    families: Mapping[str, FamilyCalibration]
    """By optimizer."""
    runs: Mapping[Candidate, PilotRun]
    """The pilots."""

    @classmethod
    def of(cls, paths: Mapping[str, FamilyPaths], runs: Sequence[PilotRun]) -> Calibration:
        """Residuals of the pilots against both predictions.

        Args:
            paths: By optimizer, for all families.
            runs: Pilots, of these families' candidates.
        """
        families = {}
        for name, family in paths.items():
            own = [run for run in runs if run.candidate.optimizer.name == name]
            passed = [
                passings(run, family.initial_losses[run.candidate], depths_to(family.depths[run.candidate]))
                for run in own
            ]
            rates, alone = (
                ResidualProcess(
                    prior=prior,
                    budgets=family.budgets,
                    observed={
                        run.candidate: residuals(
                            run, levels, family.initial_losses[run.candidate], walkers[run.candidate]
                        )
                        for run, levels in zip(own, passed, strict=True)
                        if walkers
                    },
                )
                for prior, walkers in ((RATES, family.rates), (TIME_ALONE, family.time_alone))
            )
            families[name] = FamilyCalibration(
                name=name,
                depth=family.depth,
                rates=rates,
                time_alone=alone,
                rates_known=bool(family.rates),
                what=_called(own),
            )
        return cls(families=families, runs={run.candidate: run for run in runs})

    def learned(self, optimizer: str) -> FamilyCalibration | None:
        """A family's calibration; None where none of its pilots passed a level."""
        family = self.families[optimizer]
        return family if family.learned else None

    def covariance(self, candidates: Sequence[Candidate]) -> Floats:
        """Of ln of the learning-rate times that any candidates take to the target, (m, m); families are independent."""
        found = np.zeros((len(candidates), len(candidates)))
        for name, family in self.families.items():
            rows = [row for row, candidate in enumerate(candidates) if candidate.optimizer.name == name]
            if rows:
                found[np.ix_(rows, rows)] = family.residuals([candidates[row] for row in rows])[1]
        return found

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user must know, one sentence each."""
        if not self.runs:
            return ()
        first = []
        for what, runs in (("Pilots", trained(self.runs.values())), ("Trials", seen(self.runs.values()))):
            if runs:
                steps = sum(run.steps_taken for run in runs)
                one = "1 candidate was" if len(runs) == 1 else f"{len(runs)} candidates were"
                verb = "trained" if what == "Pilots" else "observed"
                first.append(
                    f"{what}: {one} {verb} for {steps} steps in all, and the forecasts of the others learned from it."
                )
        return (*first, *(family.note for family in self.families.values() if family.note))


def trained(runs: Iterable[PilotRun]) -> list[PilotRun]:
    """Those that raytt itself trained."""
    return [run for run in runs if not isinstance(run, ObservedRun)]


def seen(runs: Iterable[PilotRun]) -> list[PilotRun]:
    """Those that the user's own trials had."""
    return [run for run in runs if isinstance(run, ObservedRun)]


def _called(runs: Sequence[PilotRun]) -> str:
    if not seen(runs):
        return "Pilots"
    return "Pilots and trials" if trained(runs) else "Trials"
