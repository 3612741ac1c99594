from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import raytt
from raytt.errors import InputError
from raytt.forecast.pilots.observed_trial import ObservedTrial
from raytt.task.candidate import Candidate
from raytt.task.target import Target
from raytt.workflows.observed import matched, with_observed
from tests.forecast.test_training_prediction import HALF, REFERENCE, evaluations, prediction

TASK = raytt.Task(name="t", model=lambda: nn.Linear(2, 2), data=lambda: (torch.zeros(8, 2), torch.zeros(8).long()))
OTHER = Candidate(lr=0.02, batch_size=32)


def trial(config: Any, steps: int = 100, pace: float = 1.0, **curves: Any) -> ObservedTrial:
    """2 exp(−lr · pace · t) every five steps, as the prediction has it with a pace of 1."""
    at = np.arange(5, steps + 1, 5)
    lr = config.lr if isinstance(config, Candidate) else config["lr"]
    found = curves or {"train_loss": 2.0 * np.exp(-lr * pace * at)}
    return ObservedTrial(config=config, steps=at.tolist(), curves=found)


def test_trials_are_matched_by_all_hyperparameters() -> None:
    candidates = [REFERENCE, OTHER]
    long = trial({"lr": 0.02, "data_dir": "/somewhere", "more": {"batch_size": 32}}, steps=150)
    given = [trial(OTHER), long, trial({"lr": 0.02, "batch_size": 16}), trial({"lr": 0.02, "momentum": 0.9})]
    found, notes = matched(given, candidates, ())
    assert [(one.candidate, one.trial) for one in found] == [(OTHER, long)]
    assert notes == (
        "Not used of 4 observed trials: 2 of configurations that are not ranked.",
        "Not used of 4 observed trials: 1 of the same configuration as a longer one.",
    )
    assert matched([], candidates, ()) == ([], ())
    with pytest.raises(InputError, match=r"None of the 1 observed trials is of a configuration.*'batch_size': 16"):
        matched([trial({"lr": 0.02, "batch_size": 16})], candidates, ())


def test_a_slow_trial_slows_its_neighbours() -> None:
    near = Candidate(lr=0.025, batch_size=32)
    found = prediction([REFERENCE, OTHER, near], {32: 2.0})
    before = found.forecasts(HALF)
    same, runs = with_observed(found, [], HALF)
    assert (same, runs) == (found, [])
    observed, _ = matched([trial(OTHER, pace=0.7)], [REFERENCE, OTHER, near], ())
    told, runs = with_observed(found, observed, HALF)
    assert told.made_from != found.made_from
    after = told.calibrated(runs, HALF)
    forecasts = after.forecasts(HALF)
    assert forecasts[OTHER].steps == pytest.approx(np.log(2.0) / (0.02 * 0.7), rel=0.03)
    assert forecasts[OTHER].doubts == ("seen in a real trial: its steps are those of that one run",)
    ratio = forecasts[near].steps / before[near].steps  # type: ignore[operator]
    # Towards 1/0.7, and not all the way: one trial is one trial.
    assert 1.1 < ratio < 1.0 / 0.7
    assert forecasts[near].high / forecasts[near].low < before[near].high / before[near].low  # type: ignore[operator]
    assert any(note.startswith("Trials: 1 candidate was observed for 100 steps") for note in after.notes)
    assert any(note.startswith("Trials of sgd: left out in turn") for note in after.notes)


def test_trials_without_the_curve_of_the_target_are_told() -> None:
    found = prediction([REFERENCE, OTHER], {32: 2.0}, evaluated=evaluations())
    only = trial(REFERENCE, val_loss=np.linspace(2.0, 1.0, 20))
    observed, _ = matched([trial(OTHER), only], [REFERENCE, OTHER], ())
    told, runs = with_observed(found, observed, HALF, ["said before"])
    assert [run.candidate for run in runs] == [OTHER]
    assert told.task_notes == ("said before", "Not used of 2 observed trials: 1 without reports of train_loss.")
    with pytest.raises(InputError, match=r"No observed trial reported val_accuracy.*but train_loss, val_loss"):
        with_observed(found, observed, Target(kind="val_accuracy", value=0.5))


def test_refused_where_nothing_learns_from_them() -> None:
    eval_task = raytt.Task(name="t", model=TASK.model, data=TASK.data, mode="eval")
    for task, settings, message in (
        (eval_task, {}, "Observed trials with mode='eval'"),
        (TASK, {"objective": "loss"}, "Observed trials with objective='loss'"),
        (TASK, {}, "None of the 1 observed trials"),
    ):
        with pytest.raises(InputError, match=message):
            raytt.rank(task, [{"lr": 0.5}], observed=[trial(OTHER)], **settings)
