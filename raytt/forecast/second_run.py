"""A reference run that is not followed, at another learning rate than the one that is."""

from __future__ import annotations

from dataclasses import dataclass

from raytt.forecast.training_reference import TrainingReference


@dataclass(frozen=True, kw_only=True, eq=False)
class SecondRun:
    """From it and the run that is followed it is known what high learning rates lose."""

    reference: TrainingReference
    """The run."""
    gained: float
    """Share of what its gradients promise that it gained (`FamilyRates.gained`)."""
