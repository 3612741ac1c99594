"""Early stopping with patience, as trainers do it.

Notation: x_1 … x_K a metric at the evaluations of a run, signed so that less is better; δ = ``min_delta``, p =
``patience``.

    best_k = x_k  if  x_k < best_{k−1} − δ,  else  best_{k−1};      stop at the first k with p evaluations in a row that
    did not improve best.

The weights that are kept are those of the lowest x up to there. So do Lightning's ``EarlyStopping`` and Keras'; the one
of transformers (``EarlyStoppingCallback``) differs only where δ > 0: it measures δ from the best metric of all.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raytt.errors import InputError

Floats = NDArray[np.float64]

EPOCH = "epoch"
_FORM = re.compile(r"(?P<patience>\d+)(@(?P<every>epoch|\d+))?(,(?P<delta>[\d.eE+-]+))?")


@dataclass(frozen=True, kw_only=True)
class EarlyStopping:
    """When a run is ended before its budget is.

    Raises:
        InputError: If a value cannot be one.
    """

    patience: int = 3
    """Evaluations in a row without an improvement that end the run, p ≥ 1."""
    every: int | str = EPOCH
    """Steps between evaluations, or ``"epoch"``."""
    min_delta: float = 0.0
    """What an improvement must exceed, δ ≥ 0, in units of the objective."""

    def __post_init__(self) -> None:
        if not _whole(self.patience):
            raise InputError(f"patience is {self.patience!r} evaluations.", "Give a whole number of at least 1.")
        if self.every != EPOCH and not _whole(self.every):
            raise InputError(f"every is {self.every!r}.", "Give 'epoch', or a whole number of steps of at least 1.")
        if not (math.isfinite(self.min_delta) and self.min_delta >= 0.0):
            raise InputError(f"min_delta is {self.min_delta!r}.", "Give a number of at least 0.")

    @classmethod
    def parse(cls, text: str | EarlyStopping) -> EarlyStopping:
        """From ``3`` (epochs), ``3@200`` (evaluations every 200 steps) or ``3@epoch,0.001`` (with a least improvement).

        Raises:
            InputError: If it is something else.
        """
        if isinstance(text, EarlyStopping):
            return text
        match = _FORM.fullmatch(text.strip())
        try:
            delta = float(match["delta"] or 0.0) if match else math.nan
        except ValueError:
            delta = math.nan
        if match is None or math.isnan(delta):
            raise InputError(
                f"Cannot read early stopping {text!r}.",
                "Write PATIENCE[@STEPS][,MIN_DELTA], such as 3, 3@epoch, 5@200 or 3@epoch,0.001.",
            )
        every = match["every"] or EPOCH
        return cls(patience=int(match["patience"]), every=every if every == EPOCH else int(every), min_delta=delta)

    def evaluations(self, budget: int, *, steps_per_epoch: float) -> NDArray[np.int64]:
        """Steps after which a run is evaluated, increasing, the last one the end of its budget."""
        spacing = steps_per_epoch if self.every == EPOCH else float(self.every)
        at = np.ceil(np.arange(1, math.floor(budget / spacing) + 1) * spacing - 1e-9).astype(np.int64)
        return np.unique(np.append(at[at <= budget], budget))

    def ends(self, values: Sequence[float] | Floats) -> tuple[int, int]:
        """Positions of the evaluation at which the run ends, and of the one whose weights are kept.

        Args:
            values: x, shape (K,), K ≥ 1; less is better.
        """
        best, waited, last = math.inf, 0, len(values) - 1
        for position, value in enumerate(values):
            improved = value < best - self.min_delta
            best, waited = (float(value), 0) if improved else (best, waited + 1)
            if waited >= self.patience:
                last = position
                break
        return last, int(np.argmin(np.asarray(values[: last + 1])))

    def __str__(self) -> str:
        delta = f",{self.min_delta!r}" if self.min_delta else ""
        return f"{self.patience}@{self.every}{delta}"


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
