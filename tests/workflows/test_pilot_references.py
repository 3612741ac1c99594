"""Rankings where the reference run fails: pilots stand for it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import raytt
from raytt.errors import NoDescentError
from raytt.forecast.pilots.pilot_run import PilotRun
from raytt.forecast.predicted_curves import MODEL_SPREAD
from raytt.rates.reference import train_as_given
from raytt.rates.smoothing import first_crossing, smoothed
from raytt.workflows.pilot_references import LOWERED, _best
from tests.support.training_task import NUM_SAMPLES, TASK, model

ASLEEP = 21
"""Passes in which the network learns nothing: one more than attempts of a reference run of one step take."""


class LateNetwork(nn.Module):
    """Its outputs are 0 for a while, as adapters that begin at 0 have hardly any gradient at first."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = model()
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            self.passes += 1.0
        outputs: Tensor = self.inner(images)
        return outputs * (self.passes > ASLEEP).to(images.dtype)


LATE = replace(TASK, model=LateNetwork)
TARGET = 0.5
SPACE = [
    {"lr": 0.03, "momentum": 0.9, "batch_size": 32, "max_epochs": 12},
    {"lr": 0.1, "batch_size": 32, "max_epochs": 12},
    {"lr": 0.05, "batch_size": 16, "max_epochs": 12},
    {"lr": 0.01, "momentum": 0.9, "batch_size": 64, "max_epochs": 20},
]


@pytest.fixture(scope="module")
def folder(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stand-ins")


def ranked(folder: Path, **estimator: Any) -> raytt.Ranking:
    return raytt.rank(
        LATE,
        SPACE,
        target=TARGET,
        estimator=raytt.EstimatorSettings(reference_steps=1, minibatches=8, **estimator),
        cluster=raytt.ClusterSettings(num_workers=2),
        run=raytt.RunSettings(storage_path=folder, name="one", progress=False),
    )


def real_steps(candidate: raytt.Candidate) -> float:
    budget = candidate.budget(num_samples=NUM_SAMPLES, default_epochs=20)
    curve = smoothed(train_as_given(LATE, candidate, seed=9, steps=budget).losses)
    return first_crossing(np.arange(len(curve), dtype=np.float64), curve, TARGET * curve[0])


def test_pilots_alone_rank_with_wide_intervals(folder: Path) -> None:
    ranking = ranked(folder, pilots=2)
    text = " ".join(ranking.notes)
    assert "did not lower the training loss" in text
    assert "forecasts of sgd follow from them alone" in text
    others = [e for e in ranking.entries if not any("as a pilot" in doubt for doubt in e.forecast.doubts)]
    assert len(others) == 2
    for entry in others:
        forecast = entry.forecast
        assert forecast.steps is not None
        assert forecast.low is not None
        assert forecast.high is not None
        # Wider than with descent rates, and right.
        assert math.log(forecast.high / forecast.low) > 2.0 * 1.64 * MODEL_SPREAD
        assert forecast.low < real_steps(entry.candidate) < forecast.high


def test_without_pilots_it_is_refused(folder: Path) -> None:
    with pytest.raises(NoDescentError, match="did not lower the training loss"):
        ranked(folder, pilots=0)


def run(end: float, *, diverged: bool = False) -> PilotRun:
    losses = np.geomspace(2.0, 2.0 * end, 60)
    return PilotRun(candidate=raytt.Candidate(lr=0.1), budget=60, losses=losses, diverged=diverged)


def test_the_pilot_that_got_furthest_stands_for_the_reference_run() -> None:
    found = _best([run(0.6), run(0.3), run(0.1, diverged=True)])
    assert found is not None
    assert found.losses[-1] == pytest.approx(0.6)
    assert found.wasted_steps == 120
    assert len(found.times) == len(found.losses) + 1
    assert _best([run(LOWERED + 0.05), run(0.2, diverged=True)]) is None
