"""When training counts as done.

A kind of target is an entry of `KINDS`: the curve that it looks at and how its value is meant. Whatever stops a
simulation, reads a crossing off a curve, draws the target in a figure or checks that it can be met asks the entry and
never compares names, so that a kind on one of the four curves is added by registering it here. Perplexity, for example,
would be ``TargetKind(curve="val_loss", lowest=1.0, level=math.log)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from raytt.errors import InputError
from raytt.task.registry import Registry

Floats = NDArray[np.float64]
CurveName = Literal["train_loss", "train_accuracy", "val_loss", "val_accuracy"]

TINY = 1e-300
"""Stands for a loss of zero (or below, as a custom loss may have) where its logarithm is wanted: a numerical guard."""
ROUNDING = 1e-6
"""An accuracy that is below the target by no more than this meets it: 0.95 in single precision is 0.94999999, and no
training set of less than a million samples has two accuracies that are nearer. A numerical guard."""


def _as_given(value: float) -> float:
    return value


@dataclass(frozen=True, kw_only=True)
class TargetKind:
    """What the value of a target means.

    Raises:
        ValueError: If it is relative and settles, or either on an accuracy: both are defined for losses alone.
    """

    curve: CurveName
    """The curve that is looked at."""
    relative: bool = False
    """Whether the level is a share of the curve's own initial value."""
    settles: bool = False
    """Whether the target is met where the curve stops falling, a property of a whole curve, and not at a level."""
    level: Callable[[float], float] = _as_given
    """The level of the curve (if relative: its share) that a target of a given value asks for."""
    lowest: float = 0.0
    """Values must lie above it."""

    def __post_init__(self) -> None:
        if self.on_accuracy + self.relative + self.settles > 1:
            raise ValueError(f"a kind of target on {self.curve} with relative={self.relative}, settles={self.settles}")

    @property
    def on_accuracy(self) -> bool:
        """Whether more is better."""
        return self.curve.endswith("accuracy")

    @property
    def highest(self) -> float:
        """Upper bound of the value; accuracies may be equal to it, others must lie below."""
        return 1.0 if self.on_accuracy or self.relative or self.settles else math.inf


KINDS: Registry[TargetKind] = Registry("target")
"""All kinds by name."""
KINDS.register("loss_ratio", TargetKind(curve="train_loss", relative=True))
KINDS.register("loss", TargetKind(curve="train_loss", lowest=-math.inf))
KINDS.register("accuracy", TargetKind(curve="train_accuracy"))
KINDS.register("val_loss", TargetKind(curve="val_loss", lowest=-math.inf))
KINDS.register("val_loss_ratio", TargetKind(curve="val_loss", relative=True))
KINDS.register("val_accuracy", TargetKind(curve="val_accuracy"))
KINDS.register("plateau", TargetKind(curve="train_loss", settles=True))


@dataclass(frozen=True, kw_only=True)
class Target:
    """The event whose step is predicted.

    ==============  =====================================================================  ==============
    kind            reached at the first step where                                        value
    ==============  =====================================================================  ==============
    loss_ratio      mean training loss ≤ value × mean training loss at step 0              (0, 1)
    loss            mean training loss ≤ value                                             any number
    accuracy        training accuracy ≥ value                                              (0, 1]
    val_loss        mean validation loss ≤ value                                           any number
    val_loss_ratio  mean validation loss ≤ value × mean validation loss at step 0          (0, 1)
    val_accuracy    validation accuracy ≥ value                                            (0, 1]
    plateau         the training loss fell by less than value × itself over ``patience``   (0, 1)
                    epochs
    ==============  =====================================================================  ==============
    """

    kind: str
    """A name in `KINDS`."""
    value: float
    """See the table."""
    patience: float = 1.0
    """Epochs over which a plateau is measured; unused by the other kinds."""

    def __post_init__(self) -> None:
        kind = KINDS.get(self.kind)
        inside = kind.lowest < self.value < kind.highest or (self.value == kind.highest and kind.on_accuracy)
        if not (math.isfinite(self.value) and inside):
            raise InputError(
                f"Target {self.kind} is {self.value!r}, but it must lie in ({kind.lowest:g}, "
                f"{kind.highest:g}{']' if kind.on_accuracy else ')'}.",
                "For example 0.1 for a tenth of the initial loss, or accuracy=0.95.",
            )
        if not (math.isfinite(self.patience) and self.patience > 0):
            raise InputError(f"patience is {self.patience!r} epochs.", "Give a number above 0.")
        if not kind.settles:
            # So that equal targets compare equal.
            object.__setattr__(self, "patience", 1.0)

    @classmethod
    def parse(cls, text: str | float | Target) -> Target:
        """A target from ``0.1`` (loss ratio), ``"loss=0.3"`` or ``"plateau=0.01@3"`` (< 0.01 over 3 epochs)."""
        if isinstance(text, Target):
            return text
        if isinstance(text, int | float | Real):
            return cls(kind="loss_ratio", value=float(text))
        try:
            name, _, rest = text.partition("=") if "=" in text else ("loss_ratio", "", text)
            value, _, patience = rest.partition("@")
            return cls(kind=name.strip(), value=float(value), patience=float(patience or 1.0))
        except InputError:
            raise
        except (AttributeError, TypeError, ValueError):
            raise InputError(
                f"Cannot read target {text!r}.",
                f"Write a number (loss ratio) or KIND=VALUE with KIND one of: {', '.join(KINDS.names())}.",
            ) from None

    @property
    def curve(self) -> CurveName:
        """The curve that is looked at."""
        return KINDS.get(self.kind).curve

    @property
    def needs_validation(self) -> bool:
        """Whether validation data must be probed."""
        return self.curve.startswith("val_")

    @property
    def on_accuracy(self) -> bool:
        """Whether it is an accuracy, of which more is better."""
        return KINDS.get(self.kind).on_accuracy

    @property
    def relative(self) -> bool:
        """Whether the value is a share of its curve's initial value."""
        return KINDS.get(self.kind).relative

    @property
    def settles(self) -> bool:
        """Whether it is met where the curve stops falling, and not at a level."""
        return KINDS.get(self.kind).settles

    @property
    def loss_ratio(self) -> float | None:
        """The share of the initial training loss at which it is met; None where it is not such a share."""
        kind = KINDS.get(self.kind)
        return kind.level(self.value) if kind.relative and kind.curve == "train_loss" else None

    def level(self, initial_loss: float | Floats) -> float | Floats:
        """The value of its curve at which it is met, given the curve's initial value; not for plateaus."""
        level = KINDS.get(self.kind).level(self.value)
        return level * initial_loss if self.relative else level

    def pick(
        self,
        *,
        train_loss: Floats,
        train_accuracy: Floats | None,
        val_loss: Floats | None,
        val_accuracy: Floats | None,
    ) -> Floats:
        """The one of these curves that is looked at.

        Raises:
            InputError: If it is None.
        """
        curves = {
            "train_loss": train_loss,
            "train_accuracy": train_accuracy,
            "val_loss": val_loss,
            "val_accuracy": val_accuracy,
        }
        curve = curves[self.curve]
        if curve is None:
            missing = "validation data" if self.needs_validation and val_loss is None else "accuracies"
            raise InputError(
                f"The target is {self}, but there are no {missing}.",
                "Give the task validation data and a loss that knows correct answers, or take a target on the training "
                "loss.",
            )
        return curve

    def distance(
        self,
        *,
        train_loss: Floats,
        initial_loss: Floats,
        train_accuracy: Floats | None,
        val_loss: Floats | None,
        val_accuracy: Floats | None,
    ) -> Floats:
        """How far the target is away, ≤ 0 where it is met; not for plateaus.

        ln(loss / level) for losses, loss − level where the level is not positive; level − accuracy for accuracies, less
        `ROUNDING`.

        Args:
            train_loss: Mean training losses; all arrays have this shape, or None where that curve is not known.
            initial_loss: Its curve's values at step 0, where that is a loss; may broadcast.
            train_accuracy: Training accuracies, in [0, 1].
            val_loss: Mean validation losses.
            val_accuracy: Validation accuracies, in [0, 1].

        Raises:
            InputError: If the target is on a curve that is None.
            ValueError: For a plateau.
        """
        if self.settles:
            raise ValueError("a plateau is a property of a whole curve, not of one record")
        curve = self.pick(
            train_loss=train_loss, train_accuracy=train_accuracy, val_loss=val_loss, val_accuracy=val_accuracy
        )
        level = self.level(initial_loss)
        if self.on_accuracy:
            return np.asarray(level - ROUNDING - curve)
        if not self.relative and not level > 0.0:
            return np.asarray(curve - level)
        return np.asarray(np.log(np.maximum(curve, TINY)) - np.log(np.maximum(level, TINY)))

    def __str__(self) -> str:
        suffix = f"@{_exact(self.patience)}" if self.settles else ""
        return f"{self.kind}={_exact(self.value)}{suffix}"


def _exact(number: float) -> str:
    """The shortest notation that `Target.parse` reads back as the same number."""
    short = f"{number:g}"
    return short if float(short) == number else repr(float(number))
