"""The forecast of a candidate that was a pilot: what its run really did."""

from __future__ import annotations

import math

from scipy.special import ndtri

from raytt.forecast.forecast import Forecast, Status
from raytt.forecast.interval import COVERAGE
from raytt.forecast.pilots.pilot_run import PilotRun

_Z = float(ndtri(0.5 + COVERAGE / 2.0))


def met_forecast(run: PilotRun, steps: float, noise: float) -> Forecast:
    """Of a pilot that met the target after ``steps``, whose logarithm has the standard error ``noise``."""
    reach = math.exp(_Z * noise)
    return Forecast(
        status=Status.REACHED,
        steps=steps,
        low=steps / reach,
        high=steps * reach,
        shortfall=0.0,
        doubts=(f"{run.how}: its steps are those of that one run",),
    )


def real_forecast(run: PilotRun, level: float) -> Forecast | None:
    """What the pilot says of its own candidate; None where it was stopped before that was known.

    The interval is that of the crossing of one run, whose smoothed loss has an error; another run with other
    minibatches differs by somewhat more.
    """
    steps = run.steps_to(level)
    if math.isfinite(steps):
        return met_forecast(run, steps, run.noise(max(steps, 1.0)))
    if run.diverged:
        return Forecast(status=Status.UNSTABLE, steps=None, doubts=(f"{run.how}: it diverged",))
    if run.finished:
        return Forecast(
            status=Status.NOT_REACHED,
            steps=None,
            shortfall=max(0.0, math.log(float(run.curve[-1]) / level)),
            doubts=(f"{run.how}, to the end of its budget",),
        )
    return None
