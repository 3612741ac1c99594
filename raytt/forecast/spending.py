"""What a ranking may cost: a share of training all candidates, dealt out between reference runs, rates and pilots.

Costs are counted in seconds of one worker and follow from numbers of steps and the time of a step, not from a clock:
what is bought with them is then the same for any number of workers and on every continuation of a run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from raytt.forecast.family_rates import FamilyRates
from raytt.forecast.training_reference import TrainingReference
from raytt.pricing.step_key import StepKey, step_key
from raytt.pricing.step_time import StepTime
from raytt.rates.evaluation import EVALUATED
from raytt.rates.smoothing import as_smoothed, first_crossing
from raytt.task.candidate import Candidate
from raytt.task.target import Target

START_UP = 20.0
"""Seconds for Ray, the network, the data and timing a few steps of each batch size: what rankings of the examples took
on two cores before any step was taken, rounded."""
FORWARD = 1.0 / 3.0
"""Forward pass of a sample over a training step of it: a backward pass takes twice as long as the forward pass."""


@dataclass(frozen=True, kw_only=True)
class Spending:
    """What has been spent, and what may be."""

    share: float
    """Of training all."""
    training: float
    """Training all to the target, or to the end of the budget where that is not reached, seconds."""
    spent: float = START_UP
    """So far, seconds."""

    @property
    def left(self) -> float:
        """What may still be spent, seconds; ≥ 0."""
        return max(0.0, self.share * self.training - self.spent)

    def plus(self, seconds: float) -> Spending:
        """After something that took so long."""
        return replace(self, spent=self.spent + seconds)

    def of(self, training: float) -> Spending:
        """Once more is known of what training all takes."""
        return replace(self, training=training)


def step_seconds(candidate: Candidate, timed: Mapping[StepKey, StepTime]) -> float:
    """Of one update of a candidate, with its accumulated minibatches."""
    return timed[step_key(candidate)].repeated(candidate.accumulation_steps).seconds


def reference_seconds(reference: TrainingReference, timed: Mapping[StepKey, StepTime]) -> float:
    """Of a reference run with its abandoned attempts and its evaluations."""
    step = step_seconds(reference.candidate, timed)
    evaluated = FORWARD * len(reference.evaluated) * EVALUATED / reference.candidate.samples_per_step
    return step * (len(reference.losses) + reference.wasted_steps + evaluated)


def training_seconds(
    references: Mapping[str, TrainingReference],
    budgets: Mapping[Candidate, int],
    target: Target,
    timed: Mapping[StepKey, StepTime],
) -> float:
    """Training all candidates to a target, by the learning-rate time of the reference runs alone.

    Args:
        references: By family; candidates of families without one count with their whole budgets.
        budgets: Steps of each candidate.
        target: Where training ends.
        timed: Seconds of a step by batch size and network.
    """
    total = 0.0
    for family in sorted({c.family for c in budgets}):
        own = sorted((c for c in budgets if c.family == family), key=Candidate.sort_key)
        lengths = [budgets[c] for c in own]
        depth = references[family].depth(target) if family in references else -1.0
        # A target that is met at once, or on a loss that may be negative: nothing is known of how long it takes.
        if depth > 0.0:
            reference = references[family]
            walked = FamilyRates.unmeasured(reference, own).walk(own, lengths, plain=True)
            level = float(reference.initial_loss * math.exp(-depth))
            steps = np.arange(walked.losses.shape[1], dtype=np.float64)
            met = [first_crossing(steps, curve, level) for curve in as_smoothed(walked.losses)]
        else:
            met = [np.inf] * len(own)
        total += sum(min(at, length) * step_seconds(c, timed) for c, length, at in zip(own, lengths, met, strict=True))
    return float(total)
