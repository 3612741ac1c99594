"""When training counts as done."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from raytt.errors import InputError

TargetKind = Literal["loss_ratio", "loss", "accuracy", "val_loss", "val_accuracy", "plateau"]
Floats = NDArray[np.float64]
KINDS: tuple[TargetKind, ...] = ("loss_ratio", "loss", "accuracy", "val_loss", "val_accuracy", "plateau")


@dataclass(frozen=True, kw_only=True)
class Target:
    """The event whose step is predicted.

    ==============  =====================================================================  ==============
    kind            reached at the first step where                                        value
    ==============  =====================================================================  ==============
    loss_ratio      mean training loss ≤ value × mean training loss at step 0              (0, 1)
    loss            mean training loss ≤ value                                             > 0
    accuracy        training accuracy ≥ value                                              (0, 1]
    val_loss        mean validation loss ≤ value                                           > 0
    val_accuracy    validation accuracy ≥ value                                            (0, 1]
    plateau         the training loss fell by less than value × itself over ``patience``   (0, 1)
                    epochs
    ==============  =====================================================================  ==============
    """

    kind: TargetKind
    value: float
    patience: float = 1.0
    """Epochs over which a plateau is measured; unused by the other kinds."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"Unknown target {self.kind!r}.", f"Use one of: {', '.join(KINDS)}.")
        top = {"loss_ratio": 1.0, "plateau": 1.0, "loss": math.inf, "val_loss": math.inf}.get(self.kind, 1.0)
        inside = 0.0 < self.value < top or (self.value == 1.0 and self.kind in ("accuracy", "val_accuracy"))
        if not (math.isfinite(self.value) and inside):
            raise InputError(
                f"Target {self.kind} is {self.value!r}, but it must lie in (0, {top:g}"
                f"{']' if 'accuracy' in self.kind else ')'}.",
                "For example 0.1 for a tenth of the initial loss, or accuracy=0.95.",
            )
        if not (math.isfinite(self.patience) and self.patience > 0):
            raise InputError(f"patience is {self.patience!r} epochs.", "Give a number above 0.")
        if self.kind != "plateau":
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
            return cls(kind=name.strip(), value=float(value), patience=float(patience or 1.0))  # type: ignore[arg-type]
        except InputError:
            raise
        except (AttributeError, TypeError, ValueError):
            raise InputError(
                f"Cannot read target {text!r}.",
                f"Write a number (loss ratio) or KIND=VALUE with KIND one of: {', '.join(KINDS)}.",
            ) from None

    @property
    def needs_validation(self) -> bool:
        """Whether validation data must be probed."""
        return self.kind.startswith("val_")

    def reached(
        self,
        *,
        train_loss: Floats,
        initial_loss: Floats,
        train_accuracy: Floats | None,
        val_loss: Floats | None,
        val_accuracy: Floats | None,
    ) -> NDArray[np.bool_]:
        """Where the target is met, for arrays of one shape (``initial_loss`` may broadcast). Not for plateaus.

        Raises:
            InputError: If the target is on a curve that is None.
        """
        if self.kind == "plateau":
            raise ValueError("a plateau is a property of a whole curve, not of one record")
        if self.kind == "loss_ratio":
            return np.asarray(train_loss <= self.value * initial_loss)
        if self.kind == "loss":
            return np.asarray(train_loss <= self.value)
        curve = {"accuracy": train_accuracy, "val_loss": val_loss, "val_accuracy": val_accuracy}[self.kind]
        if curve is None:
            missing = "validation data" if self.needs_validation and val_loss is None else "accuracies"
            raise InputError(
                f"The target is {self}, but there are no {missing}.",
                "Give the task validation data and a loss that knows correct answers, or take a target on the training "
                "loss.",
            )
        return np.asarray(curve <= self.value if self.kind == "val_loss" else curve >= self.value)

    def __str__(self) -> str:
        suffix = f"@{_exact(self.patience)}" if self.kind == "plateau" else ""
        return f"{self.kind}={_exact(self.value)}{suffix}"


def _exact(number: float) -> str:
    """The shortest notation that `Target.parse` reads back as the same number."""
    short = f"{number:g}"
    return short if float(short) == number else repr(float(number))
