"""Ranked candidates really trained, on Ray, and what is said of them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import ray.data

import raytt
from raytt.cluster.stages import train_candidates as on_ray
from raytt.cluster.stages.train_candidates import Outcome, outcome
from raytt.results.finished_run import load_run
from raytt.results.validation import Check, Validation
from raytt.task.target import Target
from raytt.training.loop import TrainingCurve, train
from raytt.workflows.validate import SEED, choose, validate
from tests.support.actors import ActorPool, shared_actors
from tests.support.run_directory import priced_ranking
from tests.workflows.test_rank import SPACE, TASK, _rank, steady_clock

__all__ = ["steady_clock"]


def _curve(**changes: Any) -> TrainingCurve:
    steps = np.array([0, 10, 20, 30])
    settings: dict[str, Any] = {
        "steps": steps,
        "train_loss": 2.0 * np.exp(-0.1 * steps),
        "train_accuracy": steps / 40.0,
        "val_loss": None,
        "val_accuracy": None,
        "seconds_per_step": 0.5,
        "diverged": False,
    }
    return TrainingCurve(**(settings | changes))


def test_outcomes_are_read_like_forecasts() -> None:
    found = outcome(_curve(), Target(kind="loss_ratio", value=0.25), steps_per_epoch=10.0)
    assert found.steps == pytest.approx(np.log(4.0) / 0.1)
    assert found.accuracy == pytest.approx(found.steps / 40.0)
    missed = outcome(_curve(), Target(kind="loss", value=0.01), steps_per_epoch=10.0)
    assert (missed.steps, missed.steps_done, missed.accuracy) == (None, 30, 0.75)


def test_times_are_those_of_the_worker_not_of_the_priced_machine() -> None:
    entry = priced_ranking().entries[0]
    assert (entry.forecast.steps, entry.seconds) == (80.5, pytest.approx(80.5 * 0.3))
    real = Outcome(steps=70.0, steps_done=80, diverged=False, accuracy=None, val_accuracy=None, seconds_per_step=2.0)
    check = Check(entry=entry, seed=1, real=real, seconds_per_step=1.9)
    assert (check.predicted_seconds, check.real_seconds) == (pytest.approx(80.5 * 1.9), 140.0)
    assert check.to_json()["predicted_seconds"] == check.predicted_seconds
    told = " ".join(str(Validation(target="loss_ratio=0.1", checks=(check,))).split())
    assert "2.5 min 2.3 min" in told
    # With a single one its whole configuration is said.
    assert "lr 0.01, batch 32" in told
    assert Check(entry=entry, seed=1, real=real).predicted_seconds is None


def test_the_choice_is_the_top_and_a_draw_from_the_rest() -> None:
    from tests.support.fakes import example_ranking

    ranking = example_ranking()
    chosen = choose(ranking, top=2, random=3, seed=0)
    ranks = [entry.rank for entry in chosen]
    assert ranks[:2] == [1, 2]
    assert len(set(ranks)) == 5
    assert ranks == sorted(ranks)
    assert len(choose(ranking, top=100, random=5, seed=0)) == len(ranking.entries)
    assert ranks != [entry.rank for entry in choose(ranking, top=2, random=3, seed=4)]


@pytest.fixture(scope="module")
def checked(
    base: tuple[raytt.Ranking, Path], actor_pool: ActorPool, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Validation, Path]:
    folder = tmp_path_factory.mktemp("validated")
    # The probe is that of the run that the others share.
    shutil.copytree(base[1] / "r", folder / "r")
    with shared_actors(actor_pool):
        _rank(folder, space=SPACE[:-1])
    cluster = raytt.ClusterSettings(num_workers=2)
    return validate(TASK, folder / "r", top=2, random=1, cluster=cluster, progress=False), folder / "r"


def test_real_runs_are_those_of_training_itself(checked: tuple[Validation, Path]) -> None:
    found = checked[0]
    assert len(found.checks) == 3
    first = found.checks[0]
    assert first.entry.rank == 1
    budget = first.entry.budget
    curve = train(TASK, first.entry.candidate, seed=SEED, steps=budget, record_at=range(budget + 1))
    step = int(np.argmax(curve.train_loss <= 0.3 * curve.train_loss[0]))
    assert first.real.steps is not None
    # The runs of validation are recorded at fewer steps.
    assert first.real.steps == pytest.approx(step, abs=max(1.0, 0.1 * step))
    assert first.log_error == pytest.approx(np.log(first.entry.forecast.steps / first.real.steps))


def test_it_is_kept_in_the_run_and_told(checked: tuple[Validation, Path]) -> None:
    found, place = checked
    kept = json.loads((place / "validation.json").read_text())
    assert kept == found.to_json()
    assert [item["real_steps"] for item in kept["checks"]] == [check.real.steps for check in found.checks]
    run = load_run(place)
    assert [item.real_steps for item in run.validation] == [check.real.steps for check in found.checks]
    text = str(found)
    assert "Really trained to loss_ratio=0.3" in text
    # `steady_clock` says that a step takes 0.01 s per sample.
    assert all(check.seconds_per_step == 0.01 * check.entry.candidate.batch_size for check in found.checks)
    assert "bias" in text


def test_a_second_call_trains_nothing(checked: tuple[Validation, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    class Never:
        """Stands for the Ray task."""

        def options(self, **_: Any) -> Never:
            return self

        def remote(self, *_: Any) -> None:
            raise AssertionError("trained again")

    monkeypatch.setattr(on_ray, "_TRAIN", Never())
    again = validate(TASK, checked[1], top=2, random=1, progress=False)
    assert again == checked[0]


def test_a_ray_data_set_is_trained_on_as_a_pair_of_tensors_is(
    checked: tuple[Validation, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (images, labels), (others, other_labels) = TASK.data(), TASK.validation()

    def rows(x: Any, y: Any) -> Any:
        items = [{"x": a.numpy(), "y": int(b)} for a, b in zip(x, y, strict=True)]
        return ray.data.from_items(items, override_num_blocks=3)

    task = replace(TASK, data=rows(images, labels), validation=lambda: rows(others, other_labels), target_column="y")
    _rank(tmp_path, task, space=SPACE[:-1])
    found = validate(task, tmp_path / "r", top=2, random=1, cluster=raytt.ClusterSettings(num_workers=2))
    assert "all 40 training rows" in capsys.readouterr().err
    assert [_without_times(check.real) for check in found.checks] == [
        _without_times(check.real) for check in checked[0].checks
    ]


def _without_times(real: Outcome) -> Outcome:
    return replace(real, seconds_per_step=0.0)


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        (TASK, {"top": 0, "random": 0}, "at least one candidate"),
        (replace(TASK, name="other"), {}, "task 'tiny', the task given is 'other'"),
    ],
)
def test_bad_input(checked: tuple[Validation, Path], task: Any, options: dict[str, int], message: str) -> None:
    with pytest.raises(raytt.InputError, match=message):
        validate(task, checked[1], progress=False, **options)


def test_settings_of_the_cluster_given_flat_are_refused(checked: tuple[Validation, Path]) -> None:
    with pytest.raises(raytt.InputError, match=r"Write cluster=raytt\.ClusterSettings\(use_gpu=…\)"):
        validate(TASK, checked[1], use_gpu=True)  # type: ignore[arg-type]


def test_a_run_that_has_not_ended_is_refused(ray_session: None, tmp_path: Path) -> None:
    with pytest.raises(raytt.StoreError, match="is no run directory"):
        validate(TASK, tmp_path / "nothing", progress=False)
