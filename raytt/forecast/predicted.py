"""What a ranking needs of a prediction, whichever estimator made it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from raytt.forecast.curve_bands import Band
from raytt.forecast.final_quality import FinalQuality
from raytt.forecast.forecast import Forecast
from raytt.forecast.reference_check import ReferenceCheck
from raytt.pricing.machine import Timing
from raytt.task.candidate import Candidate
from raytt.task.early_stopping import EarlyStopping
from raytt.task.target import Target


class Predicted(Protocol):
    """Forecasts of all candidates, and the numbers behind them."""

    @property
    def method(self) -> str | None:
        """Name of the estimator where it follows a reference run; None: the solver's."""

    @property
    def budgets(self) -> Mapping[Candidate, int]:
        """Steps each candidate may take."""

    @property
    def timing(self) -> Timing:
        """Step times with the work of a step."""

    @property
    def work_notes(self) -> tuple[str, ...]:
        """What the user must know of how the work of a step was counted."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user must know of the prediction, one sentence each."""

    @property
    def checks(self) -> tuple[ReferenceCheck, ...]:
        """Reference runs beside their own simulations, where there are any."""

    @property
    def made_from(self) -> str:
        """Fingerprint of what it was made from."""

    @property
    def num_samples(self) -> int | None:
        """N, training samples probed; None where none are."""

    @property
    def num_samples_full(self) -> int:
        """N_full."""

    @property
    def num_outputs(self) -> int | None:
        """C; None where outputs play no part."""

    @property
    def num_trainable(self) -> int:
        """D."""

    @property
    def initial_loss(self) -> float:
        """Training loss at the pre-trained weights."""

    @property
    def initial_losses(self) -> Mapping[str, float]:
        """The same by `Candidate.family`, where families have reference runs of their own in training mode."""

    @property
    def initial_val_loss(self) -> float | None:
        """Validation loss there; None where it is not known."""

    @property
    def stability_limit(self) -> float:
        """Of plain SGD at the pre-trained weights; +inf where it is not known."""

    def forecasts(self, target: Target) -> dict[Candidate, Forecast]:
        """What happens to each candidate."""

    def qualities(
        self, objective: str | None = None, stopping: EarlyStopping | None = None
    ) -> Mapping[Candidate, FinalQuality]:
        """What each candidate has at the end of its own budget; empty where that is not predicted."""

    def bands(self) -> dict[Candidate, Band]:
        """The predicted curves in brief."""
