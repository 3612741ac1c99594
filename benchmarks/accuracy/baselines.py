"""What else one could predict from: each baseline gives steps to a loss ratio, or None where it gives no answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import curve_fit

from raytt.forecast.control_variate import first_crossings
from raytt.task.candidate import Candidate

Floats = NDArray[np.float64]


def rescaled_reference(
    candidate: Candidate, reference: Candidate, steps: Floats, losses: Floats, ratio: float
) -> float | None:
    """The reference's own steps, times its effective learning rate over the candidate's.

    Schedules are walked: the steps after which Σ schedule(t) is that of a constant rate.
    """
    found = float(first_crossings(steps, losses[None], np.array([ratio]))[0, 0])
    return _walked(candidate, found * reference.effective_lr / candidate.effective_lr) if math.isfinite(found) else None


def fitted_reference(
    candidate: Candidate, reference: Candidate, steps: Floats, losses: Floats, ratio: float
) -> float | None:
    """As `rescaled_reference`, on the better of an exponential and a power law fitted to the reference's curve."""
    relative = losses / losses[0]

    def exponential(t: Floats, rate: float, delay: float) -> Floats:
        return np.asarray(-rate * np.maximum(t - delay, 0.0))

    def power(t: Floats, exponent: float, scale: float) -> Floats:
        return np.asarray(-exponent * np.log1p(t / scale))

    def exponential_at(p: Floats) -> float:
        return float(-math.log(ratio) / p[0] + p[1])

    def power_at(p: Floats) -> float:
        return float(p[1] * math.expm1(-math.log(ratio) / p[0]))

    best: tuple[float, float] | None = None
    scale = float(steps[-1])
    for law, guess, inverse in (
        (exponential, (1.0 / scale, 0.1 * scale), exponential_at),
        (power, (1.0, 0.5 * scale), power_at),
    ):
        try:
            fitted, _ = curve_fit(law, steps, np.log(relative), guess, bounds=(1e-9, np.inf), maxfev=4000)
            error = float(np.square(law(steps, *fitted) - np.log(relative)).sum())
            answer = inverse(fitted)
        except (RuntimeError, ValueError, OverflowError):
            continue
        if math.isfinite(answer) and (best is None or error < best[0]):
            best = (error, answer)
    return None if best is None else _walked(candidate, best[1] * reference.effective_lr / candidate.effective_lr)


def mean_eigenvalue(candidate: Candidate, eigenvalue: float, ratio: float) -> float | None:
    """ln(1/ε) / (η · mean eigenvalue of Θ/N at the pre-trained weights)."""
    return _walked(candidate, math.log(1.0 / ratio) / (candidate.effective_lr * eigenvalue)) if eigenvalue > 0 else None


def median_of_others(real: Sequence[float], own: int) -> float | None:
    """Median of the real steps of the other runs that reach the threshold."""
    others = [value for i, value in enumerate(real) if i != own and math.isfinite(value)]
    return float(np.median(others)) if others else None


def other_seeds(real: Sequence[float], configs: Sequence[Any], own: int) -> float | None:
    """Geometric mean of the real steps of the runs that differ in their seed alone: no baseline, but how near a
    prediction that knows everything but the seed could come.
    """
    others = [value for i, value in enumerate(real) if i != own and configs[i] == configs[own]]
    mean = math.exp(float(np.mean(np.log(np.maximum(others, 1.0))))) if others else math.inf
    return mean if math.isfinite(mean) else None


def _walked(candidate: Candidate, constant_steps: float) -> float | None:
    budget = candidate.max_steps or 0
    total = np.cumsum(candidate.lr_factors(budget))
    if len(total) == 0 or constant_steps > total[-1]:
        return None
    return float(np.interp(constant_steps, np.concatenate([[0.0], total]), np.arange(budget + 1)))
