"""What a trial of the user's own showed: reported curves, of a configuration that trained for real outside raytt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytt.errors import InputError
from raytt.task.candidate import Candidate

Floats = NDArray[np.float64]
CURVES = ("train_loss", "val_loss", "train_accuracy", "val_accuracy")
"""Names of curves, those that targets are on."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ObservedTrial:
    """A trial's configuration and what it reported, finished or not.

    Raises:
        InputError: If steps do not increase, or a curve is unknown or has another length.
    """

    config: Mapping[str, Any] | Candidate
    """Its configuration as the search space writes it; names that are no hyperparameters are ignored."""
    steps: Sequence[float]
    """Optimizer steps done at each report, increasing."""
    curves: Mapping[str, Sequence[float]]
    """By name in `CURVES`: a value at each report, NaN where there was none. ``train_loss`` is that of minibatches in
    training mode, as raytt's reference run logs it, the others are of eval mode."""
    averaged: bool = False
    """Whether each training loss is the mean since the report before, as Trainer logs it, not that of the last
    minibatches."""

    def __post_init__(self) -> None:
        steps = np.asarray(self.steps, dtype=np.float64)
        rising = bool(np.isfinite(steps).all()) and bool((np.diff(steps) > 0.0).all())
        if steps.ndim != 1 or not rising or (len(steps) and steps[0] < 0.0):
            raise InputError(
                f"The steps of an observed trial are {list(self.steps)[:6]!r}….", "Give increasing numbers from 0."
            )
        for name, values in self.curves.items():
            if name not in CURVES:
                raise InputError(f"Unknown curve {name!r} of an observed trial.", f"Known: {', '.join(CURVES)}.")
            if len(values) != len(steps):
                raise InputError(
                    f"An observed trial has {len(steps)} steps and {len(values)} values of {name}.",
                    "Give a value at each step, NaN where there is none.",
                )

    def reports(self, name: str) -> tuple[Floats, Floats]:
        """Steps and values of a curve where there are any, ±∞ included; none of a curve that was not reported."""
        values = np.asarray(self.curves.get(name, ()), dtype=np.float64)
        if not len(values):
            return np.zeros(0), values
        known = ~np.isnan(values)
        return np.asarray(self.steps, dtype=np.float64)[known], values[known]
