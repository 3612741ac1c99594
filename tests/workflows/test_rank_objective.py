"""Rankings by quality at the end of each budget, as people train, against real training."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import raytt
from raytt.report.html import report
from raytt.results.finished_run import load_run
from raytt.workflows.validate import validate
from tests.support.training_task import TASK, Held

VALIDATED = replace(TASK, validation=Held)
SPACE = [
    {"lr": 0.03, "momentum": 0.9, "batch_size": 32},
    {"lr": 0.01, "batch_size": 32},
    {"lr": 0.03, "batch_size": 16, "schedule": "cosine"},
    {"lr": 0.003, "batch_size": 32},
    {"lr": 0.003, "momentum": 0.9, "batch_size": 64},
    {"lr": 0.001, "batch_size": 64},
]


def ranked(folder: Path, name: str = "one", **changes: Any) -> raytt.Ranking:
    settings = {"objective": "val_loss", "max_epochs": 6, "early_stopping": "2", **changes}
    return raytt.rank(
        changes.pop("task", VALIDATED),
        SPACE,
        cluster=raytt.ClusterSettings(num_workers=1),
        run=raytt.RunSettings(storage_path=folder, name=name, progress=False),
        estimator=raytt.EstimatorSettings(minibatches=8, pilots=1),
        **{k: v for k, v in settings.items() if k != "task"},
    )


@pytest.fixture(scope="module")
def folder(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("objective")


@pytest.fixture(scope="module")
def ranking(folder: Path) -> raytt.Ranking:
    return ranked(folder)


def test_no_target_is_needed_and_both_views_are_there(ranking: raytt.Ranking) -> None:
    assert ranking.objective == "val_loss"
    assert str(ranking.early_stopping) == "2@epoch"
    values = [e.quality.estimates["val_loss"].value for e in ranking.entries if e.quality is not None]
    assert values == sorted(values)
    assert len(values) == len(SPACE)
    assert str(ranking.target) == "val_loss_ratio=0.3"
    assert all(entry.forecast.reaches or entry.forecast.shortfall is not None for entry in ranking.entries)
    assert "1 candidate was trained to the end" in " ".join(ranking.notes)


def test_what_is_predicted_is_what_real_runs_have(ranking: raytt.Ranking, folder: Path) -> None:
    found = validate(VALIDATED, folder / "one", top=6, random=0, progress=False)
    assert found.objective == "val_loss"
    pairs = found.final_pairs
    assert len(pairs) == 6
    errors = [abs(np.log(predicted.value / real)) for predicted, real in pairs]
    assert np.median(errors) < 0.25, pairs
    order = np.argsort([real for _, real in pairs])
    # The first three really are three of the first four.
    assert set(order[:3].tolist()) <= {0, 1, 2, 3}
    assert "Really trained to the ends of their runs: validation loss" in str(found)
    page = report(load_run(folder / "one"), now=datetime(2026, 1, 1, tzinfo=UTC))
    assert "val_loss, predicted (90 %)" in page


def test_what_is_done_is_used_again(ranking: raytt.Ranking, folder: Path) -> None:
    again = ranked(folder)
    assert [e.quality for e in again.entries] == [e.quality for e in ranking.entries]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": TASK}, "needs validation data"),
        ({"objective": "accuracy"}, "objective is 'accuracy'|Unknown objective"),
        ({"early_stopping": "soon"}, "Cannot read early stopping"),
        ({"task": replace(VALIDATED, mode="eval")}, "mode='eval'"),
    ],
)
def test_what_cannot_be_ranked_by_is_refused(folder: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(raytt.InputError, match=message):
        ranked(folder, "refused", **changes)
