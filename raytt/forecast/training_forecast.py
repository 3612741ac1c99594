"""What happens to one candidate that follows a reference run by descent rates: the forecast of a target.

What a pilot of the candidate really did goes before what is predicted. The 90 % interval of steps T holds, in ln T, the
standard error of ln(v_B/v_{B_ref}) and a model error (`raytt.forecast.predicted_curves`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from scipy.special import ndtri

from raytt.forecast.family_rates import FamilyRates
from raytt.forecast.forecast import Forecast, Status
from raytt.forecast.interval import COVERAGE
from raytt.forecast.pilots.instability import is_covered, why_suspect, why_unstable
from raytt.forecast.pilots.outcome import met_forecast, real_forecast
from raytt.forecast.pilots.pilot_run import LEAST_NOISE, PilotRun
from raytt.forecast.predicted_curves import PredictedCurves
from raytt.forecast.training_reference import TrainingReference
from raytt.forecast.training_trust import left_out, untrusted_anywhere, untrusted_at
from raytt.rates.smoothing import first_crossing
from raytt.task.candidate import Candidate
from raytt.task.target import Target

MUCH_EARLIER = 1.3
"""Steps to a target over those with settled batch-norm statistics from which on their lag is worth a sentence."""
_TINY = 1e-300
Z = float(ndtri(0.5 + COVERAGE / 2.0))
"""Standard deviations to either end of an interval."""


def training_forecast(
    candidate: Candidate,
    target: Target,
    *,
    family: FamilyRates,
    predicted: PredictedCurves,
    runs: Mapping[Candidate, PilotRun],
) -> Forecast:
    """What happens to a candidate on its way to a target.

    Args:
        candidate: Of the family.
        target: On a curve that is predicted.
        family: Rates along the reference run that the candidate follows.
        predicted: Its curves.
        runs: The pilots.
    """
    curve = predicted.curves[target.curve]
    level = float(target.level(start_of(family.reference, target)))
    # Downwards, whatever is asked for: first crossings are those of falling curves.
    sign = -1.0 if target.on_accuracy else 1.0
    steps = first_crossing(np.arange(len(curve), dtype=np.float64), sign * curve, sign * level)
    doubts = left_out(candidate)
    unstable = why_unstable(candidate, runs.values())
    if unstable is not None:
        return Forecast(status=Status.UNSTABLE, steps=None, doubts=(unstable,))
    pilot = runs.get(candidate)
    if pilot is not None and pilot.target == target and pilot.met is not None:
        return met_forecast(pilot, pilot.met, math.hypot(LEAST_NOISE, pilot.unseen(pilot.met)))
    if pilot is not None and target.curve == "train_loss" and (real := real_forecast(pilot, level)) is not None:
        return real
    if predicted.over_limit:
        return Forecast(status=Status.UNSTABLE, steps=None, doubts=doubts)
    accuracies = predicted.accuracies(steps)
    covered = is_covered(candidate, [run for run in runs.values() if _arrived(run, target, level)])
    if not math.isfinite(steps):
        last = float(curve[-1])
        reasons = untrusted_anywhere(candidate, family=family, predicted=predicted, covered=covered)
        return Forecast(
            status=Status.NOT_REACHED,
            steps=None,
            shortfall=max(0.0, _missing(last, level, on_accuracy=target.on_accuracy)),
            doubts=(*doubts, *reasons),
            accuracy=accuracies[0],
            val_accuracy=accuracies[1],
        )
    untrusted = untrusted_at(
        candidate, target, level=level, steps=steps, family=family, predicted=predicted, covered=covered
    )
    if pilot is not None and target.curve == "train_loss" and pilot.steps_taken > steps:
        # It was given up before it arrived, later than it should have.
        steps = float(pilot.steps_taken)
        untrusted = (f"{pilot.how}, it had not arrived after {pilot.steps_taken} steps", *untrusted)
    suspect = why_suspect(candidate, runs.values())
    if suspect is not None:
        untrusted = (suspect, *untrusted)
    learnt = settled_steps(target, family=family, predicted=predicted)
    lag = () if learnt is None or not learnt < steps / MUCH_EARLIER else (_lagging(learnt),)
    reach = math.exp(Z * predicted.spread(target.curve))
    return Forecast(
        status=Status.UNTRUSTED if untrusted else Status.REACHED,
        steps=steps,
        low=steps / reach,
        high=steps * reach,
        accuracy=accuracies[0],
        val_accuracy=accuracies[1],
        doubts=(*doubts, *lag, *untrusted),
    )


def _arrived(run: PilotRun, target: Target, level: float) -> bool:
    """Whether a pilot met the target."""
    return run.met is not None if target.curve != "train_loss" else math.isfinite(run.steps_to(level))


def start_of(reference: TrainingReference, target: Target) -> float:
    """The initial value of the target's curve."""
    if target.curve == "train_loss":
        return reference.initial_loss
    return float(getattr(reference.evaluated[0][1], target.curve))


def settled_steps(target: Target, *, family: FamilyRates, predicted: PredictedCurves) -> float | None:
    """Steps to the target with running statistics that keep up; None where there are none that lag, or nothing is
    evaluated.
    """
    settled = predicted.settled.get(target.curve)
    if settled is None:
        return None
    sign, level = -1.0 if target.on_accuracy else 1.0, float(target.level(start_of(family.reference, target)))
    return first_crossing(np.arange(len(settled), dtype=np.float64), sign * settled, sign * level)


def _lagging(learnt: float) -> str:
    return (
        f"its running batch-norm statistics lag behind: with settled ones it would be there after {learnt:.0f} "
        "steps (re-estimate them before evaluating, or raise the norms' momentum)"
    )


def _missing(last: float, level: float, *, on_accuracy: bool) -> float:
    """How far a curve that ends at ``last`` is from a level: the accuracy missing, or ln(loss / level)."""
    if on_accuracy:
        return level - last
    # A level at or below 0 has no logarithm: the difference stands for it.
    return math.log(max(last, _TINY) / level) if level > 0.0 else last - level
