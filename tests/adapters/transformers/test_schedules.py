from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import get_scheduler

import raytt
from raytt.adapters.transformers.schedules import schedule_settings, scheduler_arguments
from raytt.task.schedules import SCHEDULES

LR, STEPS, WARMUP = 2e-3, 40, 8


def _theirs(kind: str, own: dict[str, Any], warmup: int) -> NDArray[np.float64]:
    """Learning rates of transformers' own scheduler over LR."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=LR)
    scheduler = get_scheduler(
        kind, optimizer, num_warmup_steps=warmup, num_training_steps=STEPS, scheduler_specific_kwargs=own
    )
    found = []
    for _ in range(STEPS):
        found.append(optimizer.param_groups[0]["lr"] / LR)
        optimizer.step()
        scheduler.step()
    return np.asarray(found)


@pytest.mark.parametrize(
    ("kind", "own"),
    [
        ("constant", {}),
        ("constant_with_warmup", {}),
        ("linear", {}),
        ("cosine", {}),
        ("cosine_with_restarts", {"num_cycles": 3}),
        ("cosine_with_min_lr", {"min_lr": 1e-4}),
        ("cosine_with_min_lr", {"min_lr_rate": 0.1}),
        ("polynomial", {}),
        ("polynomial", {"power": 2.0, "lr_end": 1e-4}),
        ("inverse_sqrt", {}),
        ("inverse_sqrt", {"timescale": 30}),
        ("warmup_stable_decay", {"num_decay_steps": 10, "decay_type": "1-sqrt"}),
    ],
)
@pytest.mark.parametrize("warmup", [0, WARMUP])
def test_learning_rates_are_those_of_transformers(kind: str, own: dict[str, Any], warmup: int) -> None:
    settings = schedule_settings(kind, own, lr=LR, warmup_steps=warmup)
    candidate = raytt.Candidate(lr=LR, max_steps=STEPS, **settings)
    ours, theirs = candidate.lr_factors(STEPS), _theirs(kind, own, warmup)
    np.testing.assert_allclose(ours[warmup:], theirs[warmup:], rtol=1e-9, atol=1e-12)
    if kind != "constant":
        assert np.abs(ours[:warmup] - theirs[:warmup]).max(initial=0.0) < 1.0 / WARMUP


@pytest.mark.parametrize(
    "settings",
    [
        {"schedule": "constant"},
        {"schedule": "linear"},
        {"schedule": "linear", "min_lr": 1e-4},
        {"schedule": "cosine"},
        {"schedule": "cosine", "min_lr": 1e-4},
        {"schedule": "cosine_with_restarts", "num_cycles": 2},
        {"schedule": "polynomial", "power": 3.0},
        {"schedule": "inverse_sqrt", "timescale": 20},
        {"schedule": "wsd", "decay_share": 0.25},
    ],
)
@pytest.mark.parametrize("warm", [{}, {"warmup_steps": WARMUP}, {"warmup_ratio": 0.2}])
def test_arguments_give_the_learning_rates_of_the_candidate(settings: dict[str, Any], warm: dict[str, Any]) -> None:
    candidate = raytt.Candidate(lr=LR, max_steps=STEPS, **settings, **warm)
    found = scheduler_arguments(candidate, steps=STEPS)
    warmup = found["warmup_steps"]
    theirs = _theirs(found["lr_scheduler_type"], found["lr_scheduler_kwargs"], warmup)
    assert warmup == (WARMUP if warm else 0)
    np.testing.assert_allclose(candidate.lr_factors(STEPS)[warmup:], theirs[warmup:], rtol=1e-9, atol=1e-12)


def test_every_schedule_has_arguments_or_is_refused_by_name() -> None:
    needed: dict[str, dict[str, Any]] = {
        "inverse_sqrt": {"timescale": 20},
        "step": {"step_size": 5, "gamma": 0.5},
        "exponential": {"gamma": 0.9},
    }
    refused = set()
    for kind in SCHEDULES:
        candidate = raytt.Candidate(lr=LR, max_steps=STEPS, schedule=kind.name, **needed.get(kind.name, {}))
        try:
            scheduler_arguments(candidate, steps=STEPS)
        except raytt.InputError as error:
            assert repr(kind.name) in str(error)  # noqa: PT017
            refused.add(kind.name)
    assert refused == {"step", "exponential", "one_cycle"}


@pytest.mark.parametrize(
    ("kind", "own", "named"),
    [
        ("reduce_lr_on_plateau", {}, "'reduce_lr_on_plateau'"),
        ("cosine", {"num_cycles": 2.0}, "num_cycles=2.0"),
        ("warmup_stable_decay", {}, "num_decay_steps"),
        ("warmup_stable_decay", {"num_decay_steps": 3, "warmup_type": "cosine"}, "warmup_type='cosine'"),
    ],
)
def test_refuses(kind: str, own: dict[str, Any], named: str) -> None:
    with pytest.raises(raytt.InputError, match=named):
        schedule_settings(kind, own, lr=LR, warmup_steps=0)
