"""Candidates that were trained to their ends."""

from __future__ import annotations

import numpy as np
import pytest

from raytt.forecast.pilots.ending import Ending
from raytt.forecast.pilots.pilot_run import PilotRun
from raytt.task.candidate import Candidate
from raytt.task.early_stopping import EarlyStopping
from raytt.task.rank_objective import OBJECTIVES

LOSSES = np.array([1.0, 0.8, 0.5, 0.6, 0.7, 0.9])
ENDING = Ending(
    run=PilotRun(candidate=Candidate(lr=0.1), budget=50, losses=np.full(50, 0.3), diverged=False),
    steps=np.arange(0.0, 51.0, 10.0),
    curves={"val_loss": LOSSES, "val_accuracy": 1.0 - 0.1 * LOSSES},
)


def test_to_the_end_of_the_budget() -> None:
    values, end, kept = ENDING.final(OBJECTIVES.get("val_loss"), None, steps_per_epoch=10.0)
    assert (end, kept) == (50.0, 50.0)
    assert values == pytest.approx({"val_loss": 0.9, "val_accuracy": 0.91, "loss": 0.3})


def test_early_stopping_keeps_the_best_checkpoint() -> None:
    for name in ("val_loss", "val_accuracy"):
        values, end, kept = ENDING.final(OBJECTIVES.get(name), EarlyStopping(patience=2), steps_per_epoch=10.0)
        assert (end, kept) == (40.0, 20.0)
        assert values["val_loss"] == 0.5
