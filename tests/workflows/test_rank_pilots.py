"""Rankings that learn from pilots: candidates that were trained for real."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

import raytt
from raytt.cluster.stages import pilots as stage
from raytt.pricing.step_time import StepTime
from raytt.rates.reference import train_as_given
from raytt.report.terminal import plain
from raytt.workflows import pilots, step_costs
from tests.support.training_task import NUM_SAMPLES, TASK

TARGET = 0.5
SPACE = [
    {"lr": 0.03, "momentum": 0.9, "batch_size": 32},
    {"lr": 0.1, "batch_size": 32},
    {"lr": 0.05, "batch_size": 16, "schedule": "cosine"},
    {"lr": 0.01, "momentum": 0.9, "batch_size": 64, "warmup_steps": 5},
]


@pytest.fixture(scope="module")
def folder(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pilots")


def ranked(folder: Path, name: str, *, workers: int = 1, count: int | None = 2) -> raytt.Ranking:
    def times(_: Any, sizes: Any, **__: Any) -> dict[int, StepTime]:
        return {
            size: StepTime(batch_size=size, seconds=1.0, low=1.0, high=1.0, source="as told") for size in set(sizes)
        }

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step_costs, "measure_step_times", times)
        return raytt.rank(
            TASK,
            SPACE,
            target=TARGET,
            max_epochs=20,
            estimator=raytt.EstimatorSettings(pilots=count, minibatches=8),
            cluster=raytt.ClusterSettings(num_workers=workers),
            run=raytt.RunSettings(storage_path=folder, name=name, progress=False),
        )


@pytest.fixture(scope="module")
def ranking(folder: Path) -> raytt.Ranking:
    return ranked(folder, "one")


def piloted(ranking: raytt.Ranking) -> list[raytt.Candidate]:
    return [e.candidate for e in ranking.entries if any("as a pilot" in doubt for doubt in e.forecast.doubts)]


def test_pilots_are_forecast_as_they_really_went(ranking: raytt.Ranking) -> None:
    assert len(piloted(ranking)) == 2
    initial = ranking.provenance.initial_loss
    assert initial is not None
    for entry in ranking.entries:
        if entry.candidate in piloted(ranking):
            budget = entry.candidate.budget(num_samples=NUM_SAMPLES, default_epochs=20)
            log = train_as_given(TASK, entry.candidate, seed=pilots.SEED, steps=budget)
            forecast = entry.forecast
            assert forecast.low is not None
            assert forecast.high is not None
            assert forecast.steps is not None
            # The minibatch losses around that step are those of the target.
            near = slice(round(0.8 * forecast.steps), round(1.25 * forecast.steps))
            assert float(np.mean(log.losses[near])) == pytest.approx(TARGET * initial, rel=0.15)


def test_the_reader_is_told(ranking: raytt.Ranking) -> None:
    text = " ".join(plain(ranking).split())
    assert "Pilots: 2 candidates were trained" in text
    assert "left out in turn" in text
    assert "trained for real as a pilot" in text


def test_others_learn_from_them(ranking: raytt.Ranking, folder: Path) -> None:
    without = {e.candidate: e.forecast for e in ranked(folder, "one", count=0).entries}
    for entry in ranking.entries:
        if entry.candidate not in piloted(ranking) and entry.forecast.steps is not None:
            before = without[entry.candidate].steps
            assert before is not None
            assert 0.0 < abs(math.log(entry.forecast.steps / before)) < 1.0


def test_any_number_of_workers_gives_the_same_bits(ranking: raytt.Ranking, folder: Path) -> None:
    assert ranked(folder, "three", workers=3).to_json()["candidates"] == ranking.to_json()["candidates"]


def test_finished_pilots_are_not_trained_again(
    ranking: raytt.Ranking, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "_TRAIN", Mock(options=Mock(return_value=None)))
    again = ranked(folder, "one")
    assert [e.forecast for e in again.entries] == [e.forecast for e in ranking.entries]


def test_without_doubt_there_are_none_by_default(
    ranking: raytt.Ranking, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pilots, "DOUBT", 1.0)
    assert piloted(ranked(folder, "one", count=None)) == []
