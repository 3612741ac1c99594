from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler as torchs
from transformers import get_scheduler

import raytt
from raytt.adapters.torch_schedule import nearest_schedule, run_scheduler

LR, STEPS = 2e-3, 60


def _optimizer() -> torch.optim.Optimizer:
    return torch.optim.AdamW([torch.zeros(2, requires_grad=True)], lr=LR)


def _read(build: Callable[[Any], Any], *, every: int = 1) -> tuple[Any, Any]:
    optimizer = _optimizer()
    factors = run_scheduler(optimizer, build(optimizer), steps=STEPS, every=every)
    return factors, nearest_schedule(factors, lr=LR)


def _warm(then: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def build(optimizer: Any) -> Any:
        warm = torchs.LinearLR(optimizer, start_factor=1 / 9, total_iters=8)
        return torchs.SequentialLR(optimizer, [warm, then(optimizer)], milestones=[8])

    return build


@pytest.mark.parametrize(
    ("build", "wanted"),
    [
        (lambda o: torchs.LambdaLR(o, lambda t: 1.0), {"schedule": "constant"}),
        (lambda o: torchs.CosineAnnealingLR(o, STEPS), {"schedule": "cosine"}),
        (lambda o: torchs.CosineAnnealingLR(o, STEPS, eta_min=1e-4), {"schedule": "cosine", "min_lr": 1e-4}),
        (lambda o: torchs.LinearLR(o, 1.0, 0.25, total_iters=STEPS), {"schedule": "linear", "min_lr": LR / 4}),
        (lambda o: torchs.StepLR(o, 20, gamma=0.3), {"schedule": "step", "step_size": 20, "gamma": 0.3}),
        (lambda o: torchs.ExponentialLR(o, 0.97), {"schedule": "exponential", "gamma": 0.97}),
        (lambda o: torchs.PolynomialLR(o, STEPS, power=2.0), {"schedule": "polynomial", "power": 2.0}),
        (lambda o: get_scheduler("cosine", o, 0, STEPS), {"schedule": "cosine"}),
        (_warm(lambda o: torchs.CosineAnnealingLR(o, STEPS - 8)), {"schedule": "cosine", "warmup_steps": 8}),
        (_warm(lambda o: torchs.LambdaLR(o, lambda t: (1 + t / 5) ** -0.5)), {"schedule": "inverse_sqrt"}),
    ],
)
def test_learning_rates_are_those_of_the_scheduler(build: Any, wanted: dict[str, Any]) -> None:
    factors, read = _read(build)
    assert read.error < 1e-6
    assert read.warmup_error < 1e-6
    found = {key: read.settings[key] for key in wanted}
    for key, value in wanted.items():
        assert found[key] == (value if isinstance(value, str) else pytest.approx(value, rel=1e-4))
    candidate = raytt.Candidate(lr=LR * read.peak, **read.settings)
    np.testing.assert_allclose(candidate.lr * candidate.lr_factors(STEPS), LR * factors, rtol=1e-4, atol=1e-6 * LR)


def test_warmup_of_transformers_differs_and_is_told() -> None:
    _, read = _read(lambda o: get_scheduler("linear", o, 10, STEPS))
    assert (read.settings["warmup_steps"], read.settings["schedule"]) == (10, "linear")
    assert read.error < 1e-6
    assert read.warmup_error == pytest.approx(1 / 11)


def test_a_scheduler_that_moves_once_in_an_epoch() -> None:
    _, steps = _read(lambda o: torchs.StepLR(o, 2, gamma=0.5), every=10)
    assert steps.settings == {"schedule": "step", "step_size": 20, "gamma": 0.5, "warmup_steps": 0}
    _, cosine = _read(lambda o: torchs.CosineAnnealingLR(o, 30), every=2)
    assert cosine.settings["schedule"] == "cosine"
    assert 1e-6 < cosine.error < 0.05


def test_peak_is_the_largest_learning_rate() -> None:
    _, read = _read(lambda o: torchs.LambdaLR(o, lambda t: 5.0 * (1 - t / STEPS)))
    assert read.peak == 5.0
    assert read.settings["schedule"] == "linear"


def test_refuses_what_follows_no_schedule() -> None:
    with pytest.raises(raytt.InputError, match="follows none"):
        _read(lambda o: torchs.LambdaLR(o, lambda t: 1.0 + 0.5 * np.sin(t)))
