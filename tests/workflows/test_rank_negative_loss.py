"""A Gaussian likelihood, above zero at first, later below: shares of it are refused, absolute targets predicted."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import raytt
from raytt.report.html import report
from raytt.results.finished_run import load_run


def likelihood(outputs: Tensor, targets: Tensor) -> Tensor:
    mean, log_variance = outputs[:, 0], outputs[:, 1]
    return (0.5 * (log_variance + (targets - mean).square() * torch.exp(-log_variance))).mean()


def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        body, head = nn.Linear(4, 64), nn.Linear(64, 2)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return nn.Sequential(body, nn.Tanh(), head)


X = torch.randn(256, 4, generator=torch.Generator().manual_seed(1))
# Targets in double precision, as tables have them.
TASK = raytt.Task(
    name="likelihood", model=network, data=(X, 0.3 * torch.sin(2 * X[:, 0]).double()), loss=likelihood, mode="train"
)
SPACE = [
    {"lr": 0.02, "momentum": 0.9, "batch_size": 16},
    {"lr": 0.01, "momentum": 0.9, "batch_size": 32},
    {"optimizer": "adamw", "lr": 0.01, "batch_size": 32},
    {"optimizer": "adamw", "lr": 0.003, "batch_size": 16, "schedule": "cosine"},
]


def ranked(folder: Path, target: object) -> raytt.Ranking:
    return raytt.rank(
        TASK,
        SPACE,
        target=target,  # type: ignore[arg-type]
        max_epochs=40,
        cluster=raytt.ClusterSettings(num_workers=1),
        run=raytt.RunSettings(storage_path=folder, name="run", progress=False),
    )


def test_a_share_of_it_is_refused(ray_session: None, tmp_path: Path) -> None:
    with pytest.raises(raytt.InputError, match=r"loss_ratio=0\.1 is relative to the loss, which may be negative"):
        ranked(tmp_path, 0.1)


def test_an_absolute_target_below_zero_is_predicted(ray_session: None, tmp_path: Path) -> None:
    ranking = ranked(tmp_path, "loss=-0.7")
    checked = raytt.validate(
        TASK, tmp_path / "run", top=4, random=0, cluster=raytt.ClusterSettings(num_workers=1), progress=False
    )
    errors = [
        math.log(check.entry.forecast.steps / check.real.steps)
        for check in checked.checks
        if check.entry.forecast.steps and check.real.steps
    ]
    assert len(errors) >= 3, [(c.entry.forecast, c.real) for c in checked.checks]
    assert np.median(np.abs(errors)) < math.log(1.3), errors
    assert all(check.real.steps is not None for check in checked.checks if check.entry.forecast.reaches)
    page = report(load_run(tmp_path / "run"), now=datetime(2026, 1, 1, tzinfo=UTC))
    assert "Training loss over optimizer steps" in page
    assert ranking.best is not None
