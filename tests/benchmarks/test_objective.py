"""Scores of rankings by objective."""

from __future__ import annotations

import numpy as np

from benchmarks.rates.objective import scores
from raytt.task.rank_objective import OBJECTIVES


def test_scores_of_losses_and_of_accuracies() -> None:
    real = np.array([0.2, 0.4, 0.1, 0.3, 0.5, 0.6, 0.7])
    assert scores(real.tolist(), real, OBJECTIVES.get("val_loss")) == ["1.00", "0%", "0%"]
    assert scores((-real).tolist(), real, OBJECTIVES.get("val_loss")) == ["-1.00", "600%", "200%"]
    assert scores((-real).tolist(), real, OBJECTIVES.get("val_accuracy")) == ["1.00", "0.0 pt", "0.0 pt"]
    # The second best first.
    costs = [2.0, 3.0, 4.0, 5.0, 6.0, 0.0, 1.0]
    assert scores(costs, real, OBJECTIVES.get("val_accuracy"))[1:] == ["10.0 pt", "0.0 pt"]
