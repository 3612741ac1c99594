"""What a learning-rate schedule is."""

from __future__ import annotations

import dataclasses
import difflib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from raytt.errors import InputError
from raytt.task.checks import within


@dataclass(frozen=True, kw_only=True)
class Schedule(ABC):
    """Learning rate as a function of the step: η_t = lr · factor(t), a pure function with no state.

    A run of T steps begins with W steps of linear warm-up at (t + 1)/(W + 1) of ``lr``, which are the same for every
    schedule; a schedule says what follows. The fields of a subclass are its hyperparameters: they are checked and put
    in plain form (float, int, bool, str) when it is built, so that schedules that decay alike are equal and have equal
    hashes.
    """

    name: ClassVar[str]
    """Name in the registry, and the ``schedule`` of a configuration."""

    @abstractmethod
    def after_warmup(self, t: NDArray[np.float64], span: int, lr: float) -> NDArray[np.float64]:
        """Factors by which ``lr`` is multiplied, each in [0, 1] up to rounding.

        Args:
            t: Steps since the end of the warm-up, whole numbers with 0 ≤ t < span; any shape, any selection of them.
            span: T − W ≥ 1, the steps of the budget after the warm-up.
            lr: Peak learning rate, which `check` has accepted; turns absolute learning rates among the hyperparameters
                into factors.

        Returns:
            One factor per entry of ``t``, in a new array of its shape.
        """

    def check(self, lr: float) -> None:  # noqa: B027 -- most schedules accept every learning rate
        """Check the hyperparameters against the peak learning rate, which the constructor does not know.

        Raises:
            InputError: If they do not fit together, such as a ``min_lr`` above ``lr``.
        """

    @property
    def counts_epochs(self) -> bool:
        """Whether it must be told how many steps an epoch has before it gives factors."""
        return False

    def in_steps(self, steps_per_epoch: float) -> Schedule:
        """The same schedule counted in steps."""
        return self

    def describe(self) -> str:
        """The schedule in a few words without a comma, for tables."""
        return self.name

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Self:
        """The schedule with these hyperparameters; the others are at their defaults.

        Raises:
            InputError: If one is unknown, missing without a default, or out of its bounds.
        """
        known = {field.name: field for field in dataclasses.fields(cls)}
        for key in settings:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, n=1)
                hint = f"Did you mean {near[0]!r}? " if near else ""
                takes = f"Known: {', '.join(known)}." if known else "It takes none: leave it out."
                raise InputError(f"Unknown hyperparameter {key!r} of schedule {cls.name!r}.", f"{hint}{takes}")
        for key, field in known.items():
            if field.default is dataclasses.MISSING and key not in settings:
                raise InputError(f"Schedule {cls.name!r} has no {key!r}.", f"Give {key}; it has no default.")
        return cls(**settings)

    def _set(self, **values: Any) -> None:
        """Replace hyperparameters by their plain form while the schedule is built."""
        for key, value in values.items():
            object.__setattr__(self, key, value)


@dataclass(frozen=True, kw_only=True)
class DecayToMinLr(Schedule):
    """A schedule that decays from ``lr`` to ``min_lr`` over the budget.

    factor(t) = f + (1 − f) · decay(t), f = min_lr/lr, where decay falls from 1 at t = 0 to 0 at t = span.
    """

    min_lr: float = 0.0
    """Learning rate at the end of the budget, 0 ≤ min_lr ≤ lr; absolute, not a share of lr."""

    def __post_init__(self) -> None:
        self._set(min_lr=within("min_lr", self.min_lr, 0.0, float("inf")))

    @abstractmethod
    def _decay(self, t: NDArray[np.float64], span: int) -> NDArray[np.float64]:
        """decay(t), from 1 at t = 0 to 0 at t = span."""

    def after_warmup(self, t: NDArray[np.float64], span: int, lr: float) -> NDArray[np.float64]:
        """Factor f + (1 − f) · decay(t), f = min_lr/lr; without a ``min_lr`` the decay itself, to the last bit."""
        floor = self.min_lr / lr
        return floor + (1.0 - floor) * self._decay(t, span)

    def check(self, lr: float) -> None:
        """Refuse a ``min_lr`` above the peak learning rate.

        Raises:
            InputError: If ``min_lr`` > ``lr``.
        """
        if self.min_lr > lr:
            raise InputError(
                f"min_lr is {self.min_lr!r}, above lr, which is {lr!r}.",
                "Give a min_lr of at most lr (in a search space, make it depend on lr).",
            )

    def describe(self) -> str:
        """``cosine``, and ``cosine to 1e-05`` with a ``min_lr``."""
        return f"{self.name} to {self.min_lr:.3g}" if self.min_lr else self.name
