from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from raytt.adapters.tune.trials import candidate_of_trial, observed_trials
from raytt.errors import InputError
from raytt.task.candidate import Candidate


def grid(*frames: pd.DataFrame | None) -> Any:
    return [SimpleNamespace(config={"lr": 0.1 * (n + 1)}, metrics_dataframe=frame) for n, frame in enumerate(frames)]


def test_reports_become_curves() -> None:
    frame = pd.DataFrame({"step": [20, 10, 20, 30], "loss": [9.0, 2.0, 1.0, np.nan], "acc": [0.1, 0.2, 0.3, 0.4]})
    found = observed_trials(grid(frame, None, pd.DataFrame()), train_loss="loss", val_accuracy="acc", averaged=True)
    (one,) = found
    assert (one.config, one.steps, one.averaged) == ({"lr": 0.1}, [10.0, 20.0, 30.0], True)
    np.testing.assert_array_equal(one.curves["train_loss"], [2.0, 1.0, np.nan])
    assert one.curves["val_accuracy"] == [0.2, 0.3, 0.4]


def test_names_that_are_not_reported_are_refused() -> None:
    frame = pd.DataFrame({"training_iteration": [1], "loss": [1.0]})
    with pytest.raises(InputError, match=r"Trial 0 reports no 'step', but loss, training_iteration"):
        observed_trials(grid(frame), train_loss="loss")
    with pytest.raises(InputError, match=r"reports no 'eval_loss'"):
        observed_trials(grid(frame), step="training_iteration", val_loss="eval_loss")
    with pytest.raises(InputError, match="None of the 2 trials has any reports on disk"):
        observed_trials(grid(None, pd.DataFrame()), train_loss="loss")
    assert observed_trials(grid(), train_loss="loss") == []
    with pytest.raises(InputError, match="No curve of the trials is named"):
        observed_trials(grid(frame))


def test_the_candidate_of_a_trial_whatever_else_it_was_given() -> None:
    config = {"lr": 0.1, "data": "here", "inner": {"momentum": 0.9}, "other": {"lr": 1.0, "path": ""}}
    assert candidate_of_trial(config, ()) == Candidate(lr=0.1, momentum=0.9)
    assert candidate_of_trial({"data": "here"}, ()) is None
