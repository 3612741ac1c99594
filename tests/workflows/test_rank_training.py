"""Rankings of training as people run it (batch norm, dropout, augmentation) against real training."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

import raytt
from raytt.pricing.step_time import StepTime
from raytt.rates.evaluation import EvaluationPlan
from raytt.rates.reference import train_as_given
from raytt.rates.smoothing import first_crossing, smoothed
from raytt.report.html import report
from raytt.results.finished_run import load_run
from raytt.workflows import step_costs
from tests.support.training_task import NUM_SAMPLES, TASK, Held

TARGET = 0.4
VALIDATION_TARGET = "val_loss_ratio=0.4"
VALIDATED = replace(TASK, validation=Held)
SPACE = [
    {"lr": 0.03, "momentum": 0.9, "batch_size": 32},
    {"lr": 0.1, "batch_size": 32},
    {"lr": 0.03, "batch_size": 16, "schedule": "cosine"},
    {"lr": 0.06, "batch_size": 16, "accumulation_steps": 2},
    {"lr": 0.01, "momentum": 0.9, "batch_size": 64, "warmup_steps": 5},
    {"optimizer": "adamw", "lr": 0.01, "batch_size": 32},
    {"optimizer": "adamw", "lr": 0.003, "batch_size": 16},
    {"optimizer": "adamw", "lr": 0.002, "batch_size": 64, "schedule": "linear"},
    {"optimizer": "adamw", "lr": 0.003, "batch_size": 16, "eps": 0.1},
]


@pytest.fixture(scope="module")
def folder(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("training")


def ranked(folder: Path, *, workers: int = 1, task: raytt.Task = TASK, **changes: Any) -> raytt.Ranking:
    def times(_: Any, sizes: Any, **__: Any) -> dict[int, StepTime]:
        # The same for all, so that the order is that of steps.
        return {
            size: StepTime(batch_size=size, seconds=1.0, low=1.0, high=1.0, source="as told") for size in set(sizes)
        }

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step_costs, "measure_step_times", times)
        settings = {"target": TARGET, "max_epochs": 20, **changes}
        return raytt.rank(
            task,
            SPACE,
            cluster=raytt.ClusterSettings(num_workers=workers),
            run=raytt.RunSettings(storage_path=folder, name=f"r{workers}", progress=False),
            **settings,
        )


@pytest.fixture(scope="module")
def ranking(folder: Path) -> raytt.Ranking:
    return ranked(folder)


def real_steps(candidate: raytt.Candidate) -> float:
    budget = candidate.budget(num_samples=NUM_SAMPLES, default_epochs=20)
    log = train_as_given(TASK, candidate, seed=9, steps=budget)
    curve = smoothed(log.losses)
    return first_crossing(np.arange(len(curve), dtype=np.float64), curve, TARGET * curve[0])


def test_predicted_steps_are_those_of_real_training(ranking: raytt.Ranking) -> None:
    errors = []
    for entry in ranking.entries:
        real = real_steps(entry.candidate)
        assert math.isfinite(real) == entry.forecast.reaches, entry
        if entry.forecast.steps is not None:
            errors.append(math.log(entry.forecast.steps / real))
    assert np.median(np.abs(errors)) < math.log(1.3), errors
    assert max(map(abs, errors)) < math.log(2.2), errors
    assert ranking.method == "rates"


@pytest.fixture(scope="module")
def evaluated(folder: Path) -> raytt.Ranking:
    return ranked(folder / "evaluated", task=VALIDATED, target=VALIDATION_TARGET)


def real_steps_to_validation(candidate: raytt.Candidate) -> float:
    budget = candidate.budget(num_samples=NUM_SAMPLES, default_epochs=20)
    target = raytt.Target.parse(VALIDATION_TARGET)
    log = train_as_given(
        VALIDATED, candidate, seed=9, steps=budget, evaluations=EvaluationPlan(at=range(1, budget), target=target)
    )
    return float(log.evaluated[-1][0]) if log.met else math.inf


def test_steps_to_a_validation_target_are_those_of_real_training(evaluated: raytt.Ranking) -> None:
    errors = []
    for entry in evaluated.entries:
        real = real_steps_to_validation(entry.candidate)
        assert math.isfinite(real) == entry.forecast.reaches, entry
        if entry.forecast.steps is not None:
            errors.append(math.log(entry.forecast.steps / real))
            assert entry.forecast.val_accuracy is not None
    assert len(errors) >= 5
    assert np.median(np.abs(errors)) < math.log(1.3), errors
    assert max(map(abs, errors)) < math.log(2.2), errors
    assert "eval mode" in " ".join(evaluated.notes)


def test_it_says_what_it_found_random(ranking: raytt.Ranking) -> None:
    text = " ".join(ranking.notes)
    for said in ("augmentation", "dropout", "2 batch-norm layers normalise", "smoothed loss of minibatches"):
        assert said in text


def test_any_number_of_workers_gives_the_same_bits(ranking: raytt.Ranking, folder: Path) -> None:
    assert ranked(folder, workers=3).to_json()["candidates"] == ranking.to_json()["candidates"]


def test_what_is_done_is_used_again(ranking: raytt.Ranking, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Nothing is trained or measured again: there is no one to do it.
    for task in ("training_references._RUN", "descent_rates._MEASURE"):
        monkeypatch.setattr(f"raytt.cluster.stages.{task}", Mock(options=Mock(return_value=None)))
    again = ranked(folder, usd_per_hour=2.0)
    assert [e.forecast for e in again.entries] == [e.forecast for e in ranking.entries]
    assert again.best is not None
    assert again.best.usd is not None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": "plateau=0.01@2"}, "too noisy to tell"),
        ({"estimator": raytt.EstimatorSettings(reference_steps=0)}, "need a reference run"),
    ],
)
def test_what_rates_do_not_tell_is_refused(folder: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(raytt.InputError, match=message):
        ranked(folder, **changes)


def test_the_report_tells_of_rates_and_of_no_simulation(ranking: raytt.Ranking, folder: Path) -> None:
    page = report(load_run(folder / "r1"), now=datetime(2026, 1, 1, tzinfo=UTC))
    assert "descent rates" in page
    assert "90 % interval of steps" in page
    for untrue in ("Training-free", "simulated runs", "None %"):
        assert untrue not in page
    assert (ranking.provenance.num_paths, ranking.provenance.proj_dim) == (None, None)
