"""Simulated learning curves of many candidates: what every solver returns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

KINDS = (
    "train_loss",
    "train_loss_resampled",
    "train_accuracy",
    "held_loss",
    "held_accuracy",
    "val_loss",
    "val_accuracy",
)
"""The curves there may be."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Curves:
    """Curves of M candidates on P sample paths, recorded at T common steps (step 0 first).

    A path that diverged holds +inf from there on in the losses and 0 in accuracies; NaN never occurs.
    """

    steps: Floats
    """Optimizer steps at which the curves are recorded, shape (T,), increasing from 0."""
    train_loss: Floats
    """Mean loss over the samples that are trained on (all N, or each path's own subset), shape (M, P, T)."""
    train_loss_resampled: Floats
    """The same with each path's own bootstrap weights over samples, shape (M, P, T)."""
    train_accuracy: Floats | None = None
    """Shape (M, P, T), in [0, 1]; None where the loss has no notion of a correct answer."""
    held_loss: Floats | None = None
    """Mean loss over the training samples left out of each path's subset, shape (M, P, T); None without subsets."""
    held_accuracy: Floats | None = None
    """Their accuracy, shape (M, P, T)."""
    val_loss: Floats | None = None
    """Shape (M, P, T)."""
    val_accuracy: Floats | None = None
    """Shape (M, P, T)."""
    steps_done: NDArray[np.int64]
    """Steps up to which each candidate was simulated, shape (M,); its curves repeat their last value after it."""

    def __post_init__(self) -> None:
        m, p, t = self.train_loss.shape
        if self.steps.shape != (t,) or self.steps_done.shape != (m,):
            raise ValueError(
                f"steps {self.steps.shape}, steps_done {self.steps_done.shape}, curves {self.train_loss.shape}"
            )
        for name in KINDS[1:]:
            curve = getattr(self, name)
            if curve is not None and curve.shape != (m, p, t):
                raise ValueError(f"{name} has shape {curve.shape}, expected {(m, p, t)}")
            if curve is not None and bool(np.isnan(curve).any()):
                raise ValueError(f"{name} holds NaN")


@dataclass(frozen=True, kw_only=True, eq=False)
class CandidateCurves:
    """The curves of one candidate among those simulated with it."""

    curves: Curves
    """Of several candidates."""
    number: int
    """Which row is meant."""
