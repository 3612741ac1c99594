from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.optim import SGD
from torch.optim.lr_scheduler import StepLR

from raytt.errors import InputError
from raytt.task.candidate import Candidate
from raytt.task.schedules.step import Step
from tests.task.schedules.schedulers import assert_equal_to_torch


@pytest.mark.parametrize("warmup", [0, 1, 7])
@pytest.mark.parametrize(("step_size", "gamma"), [(12, 0.3), (1, 0.9), (200, 0.1), (5, 1.0)])
def test_equals_torch(step_size: int, gamma: float, warmup: int) -> None:
    assert_equal_to_torch(
        Step(step_size=step_size, gamma=gamma),
        lambda o, span: StepLR(o, step_size=step_size, gamma=gamma),
        warmup=warmup,
    )


def test_gamma_zero_leaves_the_steps_before_the_first_decay() -> None:
    t = np.arange(6, dtype=np.float64)
    np.testing.assert_array_equal(Step(step_size=4, gamma=0.0).after_warmup(t, 6, 0.1), [1, 1, 1, 1, 0, 0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"step_size": 0}, "step_size is 0; it must be a whole number of at least 1"),
        ({"step_size": 2.5}, r"step_size is 2\.5"),
        ({"step_size": 3, "gamma": 1.5}, r"gamma is 1\.5, outside \[0, 1\]"),
    ],
)
def test_bad_hyperparameters_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Step(**settings)


def test_words() -> None:
    assert Step(step_size=50).describe() == "step 50×0.1"
    assert Step(step_size=50, gamma=0.12345).describe() == "step 50×0.123"


def test_epochs_are_counted_by_the_budget() -> None:
    # StepLR(step_size=7) stepped once an epoch of 25 steps, over 40 epochs.
    settings = {"lr": 0.1, "schedule": "step", "step_epochs": 7, "gamma": 0.5, "batch_size": 8, "max_epochs": 40}
    candidate = Candidate.from_config(settings)
    budget = candidate.budget(num_samples=200, default_epochs=1)
    optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    scheduler = StepLR(optimizer, step_size=7, gamma=0.5)
    rates = []
    for _ in range(40):
        rates += [optimizer.param_groups[0]["lr"]] * 25
        optimizer.step()
        scheduler.step()
    np.testing.assert_allclose(candidate.learning_rates(budget), rates)
    assert candidate.schedule.describe() == "step 7 epochs×0.5"
    assert Candidate.from_config(candidate.config()) == candidate


def test_a_schedule_in_epochs_needs_a_budget_in_epochs() -> None:
    with pytest.raises(InputError, match=r"counts epochs, but the configuration has no max_epochs"):
        Candidate(lr=0.1, schedule="step", step_epochs=3)
    with pytest.raises(InputError, match="has neither of step_size and step_epochs"):
        Step()
    with pytest.raises(InputError, match="has both of step_size and step_epochs"):
        Step(step_size=5, step_epochs=3)


def test_a_field_that_came_later_changes_no_key_of_those_without_it() -> None:
    key = Candidate(lr=0.1, schedule="step", step_size=5).sort_key()
    assert "step_epochs" not in [name for name, *_ in key]
