"""A language model whose batches hold tokens and whose loss it returns itself: ranked, then really trained."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

import raytt
from tests.support.language_task import NUM_SAMPLES, TASK

SPACE = [
    {"optimizer": "adamw", "lr": 1e-2, "batch_size": 16},
    {"optimizer": "adamw", "lr": 3e-3, "batch_size": 16, "schedule": "cosine", "warmup_ratio": 0.1},
    {"optimizer": "adamw", "lr": 3e-3, "batch_size": 32, "schedule": "linear"},
    {"optimizer": "adamw", "lr": 6e-3, "batch_size": 8},
]


@pytest.fixture(scope="module")
def ranking(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[raytt.Ranking, Path]:
    folder = tmp_path_factory.mktemp("tokens")
    found = raytt.rank(
        TASK,
        SPACE,
        target=0.5,
        max_epochs=20,
        cluster=raytt.ClusterSettings(num_workers=2),
        run=raytt.RunSettings(storage_path=folder, name="tokens", progress=False),
    )
    return found, folder / "tokens"


def test_the_work_of_a_step_is_counted_and_timed(ranking: tuple[raytt.Ranking, Path]) -> None:
    timing = ranking[0].timing
    assert set(timing.timed) == set(timing.work) == {8, 16, 32}
    # Tokens of a batch of 16 cost twice what those of 8 do.
    assert timing.work[16].other_flops == pytest.approx(2 * timing.work[8].other_flops)
    assert ranking[0].provenance.num_samples_full == NUM_SAMPLES


def test_predicted_steps_are_those_of_real_training(ranking: tuple[raytt.Ranking, Path]) -> None:
    _, folder = ranking
    checked = raytt.validate(
        TASK, folder, top=2, random=2, cluster=raytt.ClusterSettings(num_workers=2), progress=False
    )
    errors = []
    for check in checked.checks:
        predicted = check.entry.forecast.steps
        assert predicted is not None, check.entry
        assert check.real.steps is not None, check.entry
        errors.append(math.log(predicted / check.real.steps))
    assert len(errors) == 4
    assert np.median(np.abs(errors)) < math.log(1.25), errors
    assert max(map(abs, errors)) < math.log(1.6), errors


def test_what_needs_a_notion_of_a_correct_answer_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(raytt.InputError, match="notion of a correct answer, and batch_loss has none"):
        raytt.rank(TASK, SPACE, target="accuracy=0.9", run=raytt.RunSettings(storage_path=tmp_path))
