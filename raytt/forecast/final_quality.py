"""What a configuration will have when its own budget ends: training loss, validation loss, accuracy, with intervals.

Notation: T the budget, τ_T the place on the reference's path to which it takes a candidate (`raytt.rates.walk`), τ_end
the end of the reference run, Q(τ) quality there (`raytt.rates.quality`), u(Q) a scale on which errors add up: ln Q for
losses, ln(Q/(1 − Q)) for accuracies.

Three things make up the 90 % interval of u(Q(τ_T)), whose squares add:

* how far the candidate gets: u at τ_T exp(±z σ) with σ the standard deviation of ln steps to a training loss, which
  follows from the walk's model error, the noise of rates, and what pilots leave of both;
* that runs at the same place differ, and are evaluated on few samples: `SPREAD`;
* that nothing was measured beyond τ_end: `BEYOND` times ln(τ_T/τ_end).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, ndtri

from raytt.forecast.interval import COVERAGE
from raytt.forecast.predicted_curves import PredictedCurves
from raytt.rates.evaluation import EVALUATED
from raytt.task.rank_objective import OBJECTIVES, RankObjective

Floats = NDArray[np.float64]

SPREAD: Mapping[str, float] = {"train_loss": 0.15, "val_loss": 0.15, "val_accuracy": 0.3}
"""Standard deviation of u between real runs and predictions at one place of the path. With it and `BEYOND` intervals
held 13 to 16 of 16 real values for each of three objectives on three networks, on which both were chosen (``python -m
benchmarks.rates.objective``, 2026-11-29)."""
BEYOND: Mapping[str, float] = {"train_loss": 0.5, "val_loss": 0.5, "val_accuracy": 0.4}
"""The same that is added per unit of ln τ beyond the end of the reference run."""
CHECKPOINTS = 24
"""Steps of a run at which its quality is kept, for budgets of time and money."""
FIRST = 50.0
"""What the end of a run is over the first of them: nobody ends a run earlier."""
PAST_END = 1.05
"""Place over the reference's end from which on quality is extrapolated."""
LEAST_ERROR = 0.5 / EVALUATED
"""Accuracies are kept this far from 0 and 1: of so many samples no more is known."""
_Z = float(ndtri(0.5 + COVERAGE / 2.0))


class QualityStatus(StrEnum):
    """How well a final quality is known."""

    PREDICTED = "predicted"
    EXTRAPOLATED = "extrapolated"
    UNTRUSTED = "untrusted"
    UNSTABLE = "unstable"

    @property
    def explanation(self) -> str:
        """One sentence for the reader of a table."""
        return _EXPLANATIONS[self]


_EXPLANATIONS = {
    QualityStatus.PREDICTED: "ends where the reference run was measured.",
    QualityStatus.EXTRAPOLATED: "goes further than the reference run: its final quality continues the trend at that "
    "run's end, with a wider interval.",
    QualityStatus.UNTRUSTED: "has a final quality that is not trusted, for the reason given with it: ranked after the "
    "others.",
    QualityStatus.UNSTABLE: "diverges: its learning rate is too high.",
}


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number with its 90 % interval."""

    value: float
    """The median."""
    low: float
    """Lower end."""
    high: float
    """Upper end."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and self.low <= self.value <= self.high < math.inf):
            raise ValueError(f"interval {self.low}…{self.high} does not hold {self.value}, or is infinite")


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What the objective is after some steps of a run."""

    step: float
    """Optimizer steps."""
    estimate: Estimate
    """Of the objective."""


@dataclass(frozen=True, kw_only=True)
class FinalQuality:
    """What one candidate has at the end of its run."""

    status: QualityStatus
    steps: float
    """Steps that it takes: its budget, or those until early stopping ends it."""
    kept: float
    """Step whose weights are kept: the last, or that of the best checkpoint under early stopping."""
    estimates: Mapping[str, Estimate]
    """By name in `OBJECTIVES`, those that are known; none of a run that diverges."""
    progress: tuple[Checkpoint, ...] = ()
    """The objective along the run."""
    steps_low: float | None = None
    """Lower end of the 90 % interval of steps under early stopping; None without it."""
    steps_high: float | None = None
    """Upper end."""
    doubts: tuple[str, ...] = ()
    """Reasons to trust it less, as sentences."""

    def __post_init__(self) -> None:
        if self.status is QualityStatus.UNSTABLE and (self.estimates or self.progress):
            raise ValueError("a run that diverges has no final quality")

    @property
    def trusted(self) -> bool:
        """Whether it is ranked before those that are not."""
        return self.status in (QualityStatus.PREDICTED, QualityStatus.EXTRAPOLATED)

    def of(self, objective: str) -> Estimate | None:
        """The estimate of an objective; None where it is not known."""
        return self.estimates.get(objective)


@dataclass(frozen=True, kw_only=True, eq=False)
class QualityCurve:
    """One objective along a candidate's run."""

    objective: RankObjective
    """What it is."""
    predicted: PredictedCurves
    """Where the run goes."""

    @property
    def known(self) -> bool:
        """Whether the curve is predicted at all."""
        return self.objective.curve in self.predicted.curves

    def values(self, steps: Floats) -> Floats:
        """The objective after these steps, any shape."""
        return self._read(steps, 0.0)

    def estimate(self, step: float) -> Estimate:
        """With its interval, after ``step`` steps."""
        (found,) = self.estimates(np.asarray([step]))
        return found

    def estimates(self, steps: Floats) -> list[Estimate]:
        """With intervals, after these steps, shape (n,)."""
        name, sigma = self.objective.curve, self.predicted.spread("train_loss")
        ends = [self.stretched(self._read(steps, shift)) for shift in (0.0, _Z * sigma, -_Z * sigma)]
        middle, lowest, highest = ends[0], np.min(ends, axis=0), np.max(ends, axis=0)
        spread = _Z * np.hypot(SPREAD[name], BEYOND[name] * self._beyond(steps)) * self._unit()
        low, high = middle - np.hypot(middle - lowest, spread), middle + np.hypot(highest - middle, spread)
        rows = zip(*(self.shrunk(u).tolist() for u in (middle, low, high)), strict=True)
        return [Estimate(value=value, low=min(lower, value), high=max(upper, value)) for value, lower, upper in rows]

    def spread_of(self, estimate: Estimate) -> float:
        """Standard deviation of u that an interval says."""
        low, high = (float(self.stretched(np.asarray(end))) for end in (estimate.low, estimate.high))
        return (high - low) / (2.0 * _Z)

    def error_of(self, estimate: Estimate, real: float) -> float:
        """u_real − u_predicted."""
        return float(self.stretched(np.asarray(real)) - self.stretched(np.asarray(estimate.value)))

    def corrected(self, estimate: Estimate, shift: float, share: float) -> Estimate:
        """The estimate with u larger by ``shift``, and an interval that is ``share`` as wide."""
        low, middle, high = (
            float(self.stretched(np.asarray(x))) for x in (estimate.low, estimate.value, estimate.high)
        )
        ends = (middle + shift - share * (middle - low), middle + shift, middle + shift + share * (high - middle))
        lower, value, upper = (float(self.shrunk(np.asarray(u))) for u in ends)
        return Estimate(value=value, low=min(lower, value), high=max(upper, value))

    def beyond(self, step: float) -> float:
        """ln(τ/τ_end), 0 before the end of the reference run."""
        return float(self._beyond(np.asarray([step]))[0])

    def _beyond(self, steps: Floats) -> Floats:
        places = np.interp(steps, np.arange(len(self.predicted.places)), self.predicted.quality_places)
        return np.log(np.maximum(places / float(self.predicted.path.times[-1]), 1.0))

    def stretched(self, values: Floats) -> Floats:
        """u(Q)."""
        if self.objective.more_is_better:
            return np.asarray(logit(np.clip(values, LEAST_ERROR, 1.0 - LEAST_ERROR)))
        return np.log(values) if self._positive() else values

    def shrunk(self, values: Floats) -> Floats:
        """Q of u."""
        if self.objective.more_is_better:
            return np.asarray(expit(values))
        return np.exp(values) if self._positive() else values

    def scatter(self) -> float:
        """Standard deviation of u between evaluations of one run, from the reference run's own."""
        quality, name = self.predicted.quality, self.objective.curve
        if quality is None or name not in quality.curves:
            return 0.0
        found = quality.scatter(name)
        if not self.objective.more_is_better:
            return found
        last = float(np.clip(quality.curves[name][-1], LEAST_ERROR, 1.0 - LEAST_ERROR))
        return found / (last * (1.0 - last))

    def _read(self, steps: Floats, shift: float) -> Floats:
        """The curve, were all places on the path larger by the factor exp(shift)."""
        predicted, name = self.predicted, self.objective.curve
        own = np.arange(len(predicted.places), dtype=np.float64)
        if name == "train_loss":
            places = np.interp(steps, own, predicted.places)
            bare, excess = (np.interp(steps, own, curve) for curve in (predicted.bare_losses, predicted.excess))
            # The excess loss of noise is what it is: the rest moves along the path.
            usual, there = (predicted.path.loss(x) for x in (places, places * math.exp(shift)))
            return bare * there / usual + excess if self._positive() else bare + there - usual + excess
        assert predicted.quality is not None
        places = np.interp(steps, own, predicted.quality_places)
        values = np.interp(steps, own, predicted.curves[name])
        return predicted.quality.extended(name, values, places, shift=shift)

    def _positive(self) -> bool:
        """Whether the curve stays above 0, so that errors add up in its logarithm."""
        predicted = self.predicted
        if self.objective.curve == "train_loss":
            return min(float(predicted.bare_losses.min()), float(predicted.path.losses.min())) > 0.0
        return float(predicted.curves[self.objective.curve].min()) > 0.0

    def _unit(self) -> float:
        """What a spread of 1 is on a curve without a logarithm: what it falls by."""
        if self.objective.more_is_better or self._positive():
            return 1.0
        return float(np.ptp(self.predicted.curves[self.objective.curve]))


def stretched_cost(objective: RankObjective, value: float) -> float:
    """Ln of a loss, or of an error, which is what is lost by a choice; of losses that are not positive themselves."""
    if objective.more_is_better:
        return math.log(max(1.0 - value, LEAST_ERROR))
    return math.log(value) if value > 0.0 else value


def estimates(predicted: PredictedCurves, step: float) -> dict[str, Estimate]:
    """All objectives that are known, after ``step`` steps."""
    curves = [QualityCurve(objective=objective, predicted=predicted) for objective in OBJECTIVES]
    return {curve.objective.name: curve.estimate(step) for curve in curves if curve.known}


def progress(curve: QualityCurve, end: float) -> tuple[Checkpoint, ...]:
    """The objective at `CHECKPOINTS` steps from ``end`` / `FIRST` to ``end``, evenly spaced in the logarithm."""
    last = max(end, 1.0)
    steps = np.unique(np.round(np.geomspace(max(1.0, last / FIRST), last, CHECKPOINTS)))
    found = zip(steps.tolist(), curve.estimates(steps), strict=True)
    return tuple(Checkpoint(step=step, estimate=estimate) for step, estimate in found)
