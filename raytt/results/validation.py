"""Candidates that were really trained, beside what was predicted of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from raytt.forecast.final_quality import Estimate
from raytt.results.display import Shown
from raytt.results.entry import Entry
from raytt.results.quality_document import estimates_to_json


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What its training really did."""

    steps: float | None
    """Steps to the target; None where it was not reached."""
    steps_done: int
    """Steps taken in all."""
    diverged: bool
    """Whether the loss became infinite or far larger than at the start."""
    accuracy: float | None
    """Training accuracy at the target, else at the end, in [0, 1]."""
    val_accuracy: float | None
    """Validation accuracy there."""
    seconds_per_step: float
    """Median time of a step, seconds."""
    final: Mapping[str, float] = field(default_factory=dict)
    """Quality at the end of its run, by name in `OBJECTIVES`; empty where it was ended at the target, or diverged."""
    run_steps: float | None = None
    """Steps of that run: its budget, or those until early stopping ends it."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One candidate, predicted and real."""

    entry: Entry
    """As it was ranked."""
    seed: int
    """Of the real run's minibatches."""
    real: Outcome
    """What happened."""
    seconds_per_step: float | None = None
    """Time of a step on the worker that the ranking timed, seconds. The ranking itself may be priced for another
    machine, whose times say nothing of this one."""

    @property
    def predicted_seconds(self) -> float | None:
        """Predicted time to the target on such a worker, seconds; None where it is not reached, or was not timed."""
        steps = self.entry.forecast.steps
        return None if steps is None or self.seconds_per_step is None else steps * self.seconds_per_step

    @property
    def real_seconds(self) -> float | None:
        """Real time to the target, seconds; None where it was not reached."""
        return None if self.real.steps is None else self.real.steps * self.real.seconds_per_step

    @property
    def log_error(self) -> float | None:
        """ln(predicted / real steps); None unless both reach the target."""
        predicted = self.entry.forecast.steps
        if predicted is None or self.real.steps is None:
            return None
        return math.log(max(predicted, 1.0) / max(self.real.steps, 1.0))

    def final_pair(self, objective: str) -> tuple[Estimate, float] | None:
        """Predicted and real quality at the end of the run; None unless both are known."""
        predicted = None if self.entry.quality is None else self.entry.quality.of(objective)
        real = self.real.final.get(objective)
        return None if predicted is None or real is None else (predicted, real)

    @property
    def happened(self) -> str:
        """What really happened, in a word or two."""
        if self.real.steps is not None:
            return "reached"
        return "diverged" if self.real.diverged else "not reached"

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, strings and None."""
        forecast = self.entry.forecast
        return {
            "rank": self.entry.rank,
            "config": self.entry.candidate.config(),
            "seed": self.seed,
            "status": self.happened,
            "predicted_status": forecast.status.value,
            "predicted_steps": forecast.steps,
            "predicted_low": forecast.low,
            "predicted_high": forecast.high,
            "real_steps": self.real.steps,
            "real_steps_done": self.real.steps_done,
            "diverged": self.real.diverged,
            "predicted_seconds": self.predicted_seconds,
            "real_seconds": self.real_seconds,
            "predicted_accuracy": forecast.accuracy,
            "real_accuracy": self.real.accuracy,
            "predicted_val_accuracy": forecast.val_accuracy,
            "real_val_accuracy": self.real.val_accuracy,
            "predicted_final": {} if self.entry.quality is None else estimates_to_json(self.entry.quality),
            "real_final": dict(self.real.final),
            "predicted_run_steps": None if self.entry.quality is None else self.entry.quality.steps,
            "real_run_steps": self.real.run_steps,
        }


@dataclass(frozen=True, kw_only=True)
class Validation(Shown):
    """Some candidates of a ranking, really trained."""

    target: str
    """When training was done."""
    checks: tuple[Check, ...]
    """By rank."""
    objective: str | None = None
    """What the ranking is by at the end of each run; None: by cost to the target, at which runs were ended."""

    @property
    def final_pairs(self) -> tuple[tuple[Estimate, float], ...]:
        """Predicted and real values of the objective, of those that have both."""
        if self.objective is None:
            return ()
        return tuple(pair for check in self.checks if (pair := check.final_pair(self.objective)) is not None)

    @property
    def median_error(self) -> float | None:
        """Median |ln(predicted / real)| over those that both reach the target."""
        errors = [abs(c.log_error) for c in self.checks if c.log_error is not None]
        return float(np.median(errors)) if errors else None

    @property
    def bias(self) -> float | None:
        """Mean ln(predicted / real): above 0 where predictions are too long."""
        errors = [c.log_error for c in self.checks if c.log_error is not None]
        return float(np.mean(errors)) if errors else None

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, strings and None."""
        return {
            "target": self.target,
            "objective": self.objective,
            "median_error": self.median_error,
            "bias": self.bias,
            "checks": [check.to_json() for check in self.checks],
        }
