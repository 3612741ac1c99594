"""Predicted curves of candidates of one family."""

from __future__ import annotations

import math

import numpy as np
import pytest

from raytt.forecast.predicted_curves import MODEL_SPREAD, VALIDATION_EXTRA, PredictedCurves, predicted_curves
from raytt.task.candidate import Candidate

from .test_family_rates import family


def curves(*, error: float = 0.0, learned: float | None = None) -> PredictedCurves:
    return PredictedCurves(
        curves={"train_loss": np.array([2.0, 1.0, 0.5]), "val_accuracy": np.array([0.0, 0.5, 0.8])},
        settled={},
        places=np.array([0.0, 0.1, 0.3]),
        noise_share=np.array([0.0, 0.2, 0.4]),
        over_limit=False,
        error=error,
        learned=learned,
        path=family().reference.path(),
        quality=None,
        quality_places=np.array([0.0, 0.1, 0.2]),
        excess=np.zeros(3),
        bare_losses=np.array([2.0, 1.0, 0.5]),
    )


def test_spreads_add_up_in_squares() -> None:
    assert curves().spread("train_loss") == MODEL_SPREAD
    assert curves().spread("val_loss") == pytest.approx(math.hypot(MODEL_SPREAD, VALIDATION_EXTRA))
    assert curves(error=0.3).spread("train_loss") == pytest.approx(math.hypot(MODEL_SPREAD, 0.3))
    # Pilots tell of the model's error.
    assert curves(learned=0.05).spread("train_loss") == 0.05


def test_between_steps_they_are_linear_and_after_the_end_they_stay() -> None:
    found = curves()
    assert found.quality_place(1.5) == pytest.approx(0.15)
    assert found.noise(0.5) == pytest.approx(0.1)
    assert found.accuracies(1.5) == (None, pytest.approx(0.65))
    assert found.accuracies(math.inf) == (None, pytest.approx(0.8))


def test_each_candidate_ends_with_its_budget() -> None:
    short, long = Candidate(lr=0.01, batch_size=32), Candidate(lr=0.02, batch_size=16)
    found = predicted_curves(family(), [short, long], [10, 30])
    assert [len(found[c].curves["train_loss"]) for c in (short, long)] == [11, 31]
    assert found[short].error == 0.0
    assert found[long].error > 0.0
    assert found[short].settled == {}
