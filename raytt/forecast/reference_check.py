"""Reference runs compared with their own simulations, for the report.

Notation: ρ loss ratio (training loss over its initial value); T(ρ) first step at which it is reached.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytt.forecast.control_variate import first_crossings
from raytt.task.candidate import Candidate

Floats = NDArray[np.float64]

FILE = "reference.json"
"""Where the run directory keeps them: a list, one item per optimizer family."""
LEVELS = 5
"""Loss ratios, evenly in their logarithm, at which steps are compared."""
FIRST_RATIO = 0.8
"""The highest of them: above it too few steps have been taken for a relative error. A convention of presentation."""
LAST_RATIO = 1e-3
"""The lowest of them, unless the run stopped above it."""
OFF = 1.4
"""Predicted over real steps of a reference run, or the inverse, beyond which nothing on its path is trusted. Dividing
by this factor, as the correction does, presumes that it is the same for every candidate. Where it was 2 to 2.7 (rows
through batch statistics) a median error of 18 % remained, 68 % at the 90th percentile; a run on labels drawn by lot was
off by a factor of 2.1. Between 1 and there the bound is a judgement."""
ONE_STEP = 1.0
"""Added to both times, since a crossing is known to about one step."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ReferenceCurve:
    """The part of a reference run that forecasts need."""

    candidate: Candidate
    """Its configuration, with the learning rate of the last attempt."""
    steps: NDArray[np.int64]
    """At which losses were evaluated, shape (T,)."""
    losses: Floats
    """Mean training loss on the probed samples there, shape (T,)."""
    wasted_steps: int
    """Steps of attempts that were given up."""
    stopped: str
    """Why it stopped."""

    @property
    def optimizer(self) -> str:
        """The family it stands for."""
        return self.candidate.optimizer.name


@dataclass(frozen=True, kw_only=True)
class ReferenceCheck:
    """The reference run of an optimizer family, and the simulation of the same configuration along its path.

    Raises:
        ValueError: If fields do not fit together.
    """

    candidate: Candidate
    """Its configuration, with the learning rate of the last attempt."""
    steps: tuple[float, ...]
    """Optimizer steps at which both losses are known, increasing."""
    real_loss: tuple[float | None, ...]
    """Measured mean training loss; None where it diverged."""
    predicted_loss: tuple[float | None, ...]
    """Median over the simulated runs, before the correction; None where it diverged or was not simulated so far."""
    step_error: float | None
    """Predicted over real steps, less 1: geometric mean of (T_sim(ρ) + 1) / (T_real(ρ) + 1) over `LEVELS` loss ratios;
    None where the simulation reaches none of them."""
    wasted_steps: int
    """Steps of attempts that were given up."""
    stopped: str
    """Why it stopped."""

    def __post_init__(self) -> None:
        if not len(self.steps) == len(self.real_loss) == len(self.predicted_loss):
            raise ValueError(f"{len(self.steps)} steps, {len(self.real_loss)} and {len(self.predicted_loss)} losses")
        if not self.steps or None in self.steps or any(b <= a for a, b in pairwise(self.steps)):
            raise ValueError(f"steps are not increasing: {self.steps}")
        for loss in (*self.real_loss, *self.predicted_loss):
            if loss is not None and not math.isfinite(loss):
                raise ValueError(f"loss {loss}")
        if self.step_error is not None and not self.step_error > -1.0:
            raise ValueError(f"step_error is {self.step_error}, expected above -1")

    @classmethod
    def measure(
        cls,
        candidate: Candidate,
        *,
        steps: NDArray[np.int64],
        losses: Floats,
        simulated_steps: Floats,
        simulated: Floats,
        wasted_steps: int,
        stopped: str,
    ) -> ReferenceCheck:
        """Compare both.

        Args:
            candidate: The configuration of the run.
            steps: Of the real losses, shape (T,).
            losses: Real mean training losses, shape (T,).
            simulated_steps: Of the simulated losses up to the last step that was simulated, shape (U,).
            simulated: Simulated losses of several sample paths, shape (P, U).
            wasted_steps: Steps of attempts that were given up.
            stopped: Why the run stopped.
        """
        lowest = float(losses.min() / losses[0])
        levels = np.geomspace(FIRST_RATIO, max(lowest, LAST_RATIO), LEVELS)
        took = first_crossings(steps.astype(np.float64), losses[None], levels)[0]
        expected = np.median(first_crossings(simulated_steps, simulated, levels), axis=0)
        known = np.isfinite(took) & np.isfinite(expected)
        error = None
        if known.any():
            error = float(np.exp(np.mean(np.log((expected[known] + ONE_STEP) / (took[known] + ONE_STEP))))) - 1.0
        typical = np.interp(steps, simulated_steps, np.median(simulated, axis=0), right=np.nan)
        return cls(
            candidate=candidate,
            steps=tuple(float(step) for step in steps),
            real_loss=_finite(losses),
            predicted_loss=_finite(typical),
            step_error=error,
            wasted_steps=wasted_steps,
            stopped=stopped,
        )

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ReferenceCheck:
        """The inverse of `to_json`.

        Raises:
            InputError, KeyError, TypeError, ValueError: If it is something else.
        """
        numbers = {key: tuple(map(_number, data[key])) for key in ("steps", "real_loss", "predicted_loss")}
        return cls(
            candidate=Candidate.from_config(data["config"]),
            **numbers,
            step_error=_number(data["step_error"]),
            wasted_steps=int(data["wasted_steps"]),
            stopped=str(data["stopped"]),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, strings and None."""
        return {
            "config": self.candidate.config(),
            "steps": list(self.steps),
            "real_loss": list(self.real_loss),
            "predicted_loss": list(self.predicted_loss),
            "step_error": self.step_error,
            "wasted_steps": self.wasted_steps,
            "stopped": self.stopped,
        }

    @property
    def quality(self) -> str:
        """The error of its own simulation, in words."""
        if self.step_error is None:
            return "its own simulation does not reach its losses"
        return f"its own simulation is off by {self.step_error:+.0%} in steps"

    @property
    def misleads(self) -> bool:
        """Whether its own simulation is so far off that correcting others by the same factor is no remedy."""
        return self.step_error is None or abs(math.log1p(self.step_error)) > math.log(OFF)

    @property
    def note(self) -> str:
        """Its configuration and the error of its own simulation, in one sentence."""
        c = self.candidate
        pieces = "".join(f", {piece}" for piece in c.optimizer.describe().values())
        return (
            f"Reference run: {c.optimizer.name}, lr {c.lr:.3g}{pieces}, batch {c.batch_size}, {self.steps[-1]:.0f} "
            f"steps ({self.wasted_steps} more in abandoned attempts), stopped {self.stopped}; {self.quality}. The "
            "steps of every candidate of that optimizer are corrected for this bias."
        )


def _finite(values: Floats) -> tuple[float | None, ...]:
    return tuple(float(v) if math.isfinite(v) else None for v in values)


def _number(value: Any) -> Any:
    """The number, or None."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise TypeError(f"{value!r} is no number")
    return value
