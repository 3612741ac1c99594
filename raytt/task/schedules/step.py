"""Decay by a factor every so many steps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from raytt.errors import InputError
from raytt.task.checks import whole, within
from raytt.task.schedules._base import Schedule


@dataclass(frozen=True, kw_only=True)
class Step(Schedule):
    """factor(t) = gamma^⌊t/step_size⌋.

    Source: torch's ``StepLR``, counted in optimizer steps after the warm-up. Trainers that step it once an epoch count
    in epochs: give ``step_epochs`` then.

    Raises:
        InputError: If not exactly one of step_size and step_epochs is given, or one is out of its bounds.
    """

    name: ClassVar[str] = "step"

    step_size: int | None = None
    """Steps between decays, at least 1."""
    gamma: float = 0.1
    """Factor of each decay, in [0, 1]."""
    step_epochs: float | None = None
    """Epochs between decays, above 0; rounded to whole steps. Needs a budget in epochs (`Candidate.max_epochs`)."""

    def __post_init__(self) -> None:
        if (self.step_size is None) == (self.step_epochs is None):
            given = "neither" if self.step_size is None else "both"
            raise InputError(
                f"Schedule {self.name!r} has {given} of step_size and step_epochs.",
                "Give one: step_size counts optimizer steps, step_epochs epochs.",
            )
        self._set(gamma=within("gamma", self.gamma, 0.0, 1.0))
        if self.step_size is not None:
            self._set(step_size=whole("step_size", self.step_size, 1))
        if self.step_epochs is not None:
            self._set(step_epochs=within("step_epochs", self.step_epochs, 0.0, math.inf, open_low=True))

    @property
    def counts_epochs(self) -> bool:
        """Whether it must be told how many steps an epoch has."""
        return self.step_epochs is not None

    def in_steps(self, steps_per_epoch: float) -> Step:
        """The same, counted in steps."""
        if self.step_epochs is None:
            return self
        return Step(step_size=max(1, round(self.step_epochs * steps_per_epoch)), gamma=self.gamma)

    def after_warmup(self, t: NDArray[np.float64], span: int, lr: float) -> NDArray[np.float64]:
        """gamma^⌊t/step_size⌋; 0⁰ = 1.

        Raises:
            ValueError: If it counts epochs: `in_steps` comes first.
        """
        if self.step_size is None:
            raise ValueError("a schedule that counts epochs has no factors before it is told how many steps they have")
        factors: NDArray[np.float64] = self.gamma ** (t // self.step_size)
        return factors

    def describe(self) -> str:
        """``step 50×0.1``: every 50 steps, to a tenth; ``step 2 epochs×0.1``."""
        every = f"{self.step_epochs:g} epochs" if self.step_size is None else str(self.step_size)
        return f"{self.name} {every}×{self.gamma:.3g}"
