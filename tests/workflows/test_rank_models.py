"""Candidates that differ in arguments of the model, the rank of adapters: ranked, then really trained."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor, nn

import raytt
from raytt.pricing.step_key import step_key
from tests.support.adapted_task import TASK, adapted, data

# peft asks transformers for what the latter has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

SPACE = [
    {"optimizer": "adamw", "lr": 4e-3, "batch_size": 16, "lora_rank": 2},
    {"optimizer": "adamw", "lr": 2e-3, "batch_size": 16, "lora_rank": 8},
    {"optimizer": "adamw", "lr": 5e-3, "batch_size": 32, "lora_rank": 2, "schedule": "linear"},
    {"optimizer": "adamw", "lr": 4e-3, "batch_size": 16, "lora_rank": 8, "schedule": "cosine"},
]


@pytest.fixture(scope="module")
def ranking(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[raytt.Ranking, Path]:
    folder = tmp_path_factory.mktemp("ranks")
    found = raytt.rank(
        TASK,
        SPACE,
        target=0.5,
        max_epochs=30,
        estimator=raytt.EstimatorSettings(pilots=0),
        cluster=raytt.ClusterSettings(num_workers=2),
        run=raytt.RunSettings(storage_path=folder, name="ranks", progress=False),
    )
    return found, folder / "ranks"


def test_each_model_has_a_reference_run_of_its_own(ranking: tuple[raytt.Ranking, Path]) -> None:
    found, folder = ranking
    runs = [note for note in found.notes if note.startswith("Reference run")]
    assert [f"adamw, lora_rank {rank}, lr" in note for rank, note in zip((2, 8), runs, strict=True)] == [True, True]
    assert len(list((folder / "training").glob("adamw-*.json"))) == 2
    assert any("2 models, each with a reference run and step times of its own" in note for note in found.notes)
    assert found.to_pandas()["lora_rank"].value_counts().to_dict() == {2: 2, 8: 2}
    assert set(found.timing.timed) == {step_key(entry.candidate) for entry in found.entries}
    # What is written can be read.
    again = raytt.Ranking.from_json(found.to_json())
    assert [e.candidate for e in again.entries] == [e.candidate for e in found.entries]


def test_predicted_steps_of_every_rank_are_those_of_real_training(ranking: tuple[raytt.Ranking, Path]) -> None:
    checked = raytt.validate(
        TASK, ranking[1], top=4, random=0, cluster=raytt.ClusterSettings(num_workers=2), progress=False
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


def test_a_name_that_the_factory_does_not_take_is_refused_with_the_nearest(tmp_path: Path) -> None:
    space = [{"optimizer": "adamw", "lr": 1e-2, "lora_rnak": 2}]
    with pytest.raises(raytt.InputError, match=r"Unknown hyperparameter 'lora_rnak'.*Did you mean 'lora_rank'\?"):
        raytt.rank(TASK, space, run=raytt.RunSettings(storage_path=tmp_path))
    listed = [raytt.Candidate(optimizer="adamw", lr=1e-2, model_arguments={"lora_rnak": 2})]
    with pytest.raises(raytt.InputError, match=r"takes no argument 'lora_rnak'.*Did you mean 'lora_rank'\?"):
        raytt.rank(TASK, listed, run=raytt.RunSettings(storage_path=tmp_path))


def test_an_argument_without_a_default_is_no_hyperparameter(tmp_path: Path) -> None:
    def factory(lora_rank: int) -> nn.Module:
        return adapted(lora_rank)

    task = raytt.Task(name="bare", model=factory, data=data)
    with pytest.raises(raytt.InputError, match="Unknown hyperparameter 'lora_rank'"):
        raytt.rank(task, SPACE, run=raytt.RunSettings(storage_path=tmp_path))


def test_rows_of_one_network_know_no_other(tmp_path: Path) -> None:
    def factory(width: int = 4) -> nn.Module:
        return nn.Linear(3, width)

    def unread() -> tuple[Tensor, Tensor]:
        raise AssertionError("opened")

    task = raytt.Task(name="rows", model=factory, data=unread, mode="eval")
    with pytest.raises(raytt.InputError, match=r"'width', an argument of the model.*mode='eval'"):
        raytt.rank(task, [{"lr": 0.1, "width": 2}], run=raytt.RunSettings(storage_path=tmp_path))
