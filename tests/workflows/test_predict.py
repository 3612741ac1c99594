"""Rankings along a reference run, of a tiny real network on Ray."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

import raytt
from raytt.cluster.stages import tangents
from raytt.cluster.stages.solve import Solvers
from raytt.cluster.stages.tangents import Changes
from raytt.forecast.forecast import Status
from raytt.results.finished_run import load_run
from raytt.training.loop import train
from raytt.workflows.plan import MOST_WAYPOINTS
from tests.support.settings import grouped
from tests.workflows.test_rank import SPACE, TASK, steady_clock

pytestmark = pytest.mark.usefixtures("shared_actors")

__all__ = ["steady_clock"]

ADAMW = [{"optimizer": "adamw", "lr": lr, "batch_size": batch} for lr in (0.003, 0.01) for batch in (8, 16)]


def _rank(folder: Path, space: Any = (*SPACE, *ADAMW), task: raytt.Task = TASK, **changes: Any) -> raytt.Ranking:
    options: dict[str, Any] = {
        "target": 0.3,
        "proj_dim": 1024,
        "storage_path": folder,
        "name": "r",
        "num_workers": 2,
        "num_paths": 3,
        "max_epochs": 30.0,
        "progress": False,
    }
    return raytt.rank(task, list(space), **grouped(options | changes))


def _numbers(ranking: raytt.Ranking) -> Any:
    return ranking.to_json()["candidates"]


@pytest.fixture(scope="module")
def base(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[raytt.Ranking, Path]:
    folder = tmp_path_factory.mktemp("path")
    return _rank(folder), folder


@pytest.fixture
def finished(base: tuple[raytt.Ranking, Path], tmp_path: Path) -> Path:
    shutil.copytree(base[1] / "r", tmp_path / "r")
    return tmp_path


def test_of_many_candidates_the_costly_ones_are_simulated_on_one_path(
    base: tuple[raytt.Ranking, Path], finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = {entry.candidate: entry.forecast for entry in base[0].entries}
    monkeypatch.setattr("raytt.workflows.predict.SCREENED_FROM", 4)
    monkeypatch.setattr("raytt.forecast.screening.LEAST", 2)
    assert _numbers(_rank(finished, screen=False)) == _numbers(base[0])
    ranking = _rank(finished)
    out = {e.candidate for e in ranking.entries if any("one sample path" in doubt for doubt in e.forecast.doubts)}
    assert 0 < len(out) < len(everything)
    assert any("times the cheapest: simulated on one sample path instead of 3" in note for note in ranking.notes)
    best = min(e.candidate.batch_size * e.forecast.steps for e in ranking.entries if e.forecast.steps is not None)
    for entry in ranking.entries:
        found, before = entry.forecast, everything[entry.candidate]
        if found.steps is None:
            continue
        assert found.low is not None
        assert before.steps is not None
        if entry.candidate in out:
            assert entry.candidate.batch_size * found.steps > 3.0 * best
            assert found.low < before.steps
        else:
            assert found.steps == pytest.approx(before.steps, rel=1e-4)


def test_predictions_are_close_to_real_training(base: tuple[raytt.Ranking, Path]) -> None:
    ranking = base[0]
    assert ranking.method == "path"
    errors = []
    for entry in ranking.entries:
        if entry.forecast.status is not Status.REACHED or entry.forecast.steps is None or entry.forecast.steps < 8:
            continue
        curve = train(TASK, entry.candidate, seed=1, steps=entry.budget, record_at=list(range(entry.budget + 1)))
        loss = np.asarray(curve.train_loss)
        steps = int(np.argmax(loss <= 0.3 * loss[0]))
        assert steps > 0, entry.candidate
        errors.append(abs(np.log(entry.forecast.steps / steps)))
    assert len(errors) >= 5
    assert np.median(errors) < 0.15, errors
    assert max(errors) < 0.5, errors


def test_optimizers_with_coupled_decay_are_close_to_real_training(tmp_path: Path) -> None:
    decay = {"batch_size": 16, "weight_decay": 0.05}
    space = [{"optimizer": "adam", "lr": 0.003, **decay}, {"optimizer": "rmsprop", "lr": 0.003, **decay}]
    space.append({"optimizer": "rmsprop", "lr": 0.0005, "momentum": 0.9, "batch_size": 16})
    # Too slow for its budget, really and in prediction.
    space.append({"optimizer": "rmsprop", "lr": 0.0007, **decay})
    ranking = _rank(tmp_path, space)
    for entry in ranking.entries:
        at = range(entry.budget + 1)
        curve = train(TASK, entry.candidate, seed=1, steps=entry.budget, stop_at_loss_ratio=0.3, record_at=at)
        reached = curve.train_loss[-1] <= 0.3 * curve.train_loss[0]
        assert entry.forecast.reaches == reached
        if reached:
            assert entry.forecast.steps == pytest.approx(float(curve.steps[-1]), rel=0.2)
        assert entry.forecast.doubts == entry.candidate.doubts()
    assert sum(entry.forecast.reaches for entry in ranking.entries) == 3
    assert sum("average preconditioner" in str(entry.forecast.doubts) for entry in ranking.entries) == 3


def test_features_that_stand_still_are_seen(base: tuple[raytt.Ranking, Path], tmp_path: Path) -> None:
    # With the head alone trained the outputs are linear in what is trained: each tangent has the same rows.
    _rank(tmp_path, SPACE[:2] + ADAMW[:1], replace(TASK, trainable=["5.*"]))
    for family in ("sgd", "adamw"):
        moving, still = (
            [json.loads(file.read_text())[1] for file in sorted(folder.glob(f"r/probe/{family}-changes-*.json"))]
            for folder in (base[1], tmp_path)
        )
        assert not Changes(sharpness=(1.0,), squares=tuple(still)).features_move
        assert Changes(sharpness=(1.0,), squares=tuple(moving)).features_move


def test_the_reference_runs_are_told(base: tuple[raytt.Ranking, Path]) -> None:
    told = [note for note in base[0].notes if note.startswith("Reference run")]
    assert len(told) == 2
    for family in ("sgd", "adamw"):
        summary = json.loads((base[1] / "r" / "reference" / f"{family}.json").read_text())
        assert min(summary["losses"]) < 0.6 * summary["losses"][0]
        assert 1 <= len(summary["waypoint_steps"]) <= MOST_WAYPOINTS
    checks = load_run(base[1] / "r").references
    assert sorted(check.candidate.optimizer.name for check in checks) == ["adamw", "sgd"]
    assert {check.note for check in checks} == set(told)
    for check in checks:
        assert check.predicted_loss[0] == pytest.approx(check.real_loss[0], rel=1e-4)
        # The linearized network is near the real one on the way that it was probed along.
        assert check.step_error is not None
        assert abs(check.step_error) < 0.5


def test_a_training_free_ranking_of_the_same_run_has_no_reference_run(finished: Path) -> None:
    _rank(finished, space=SPACE[:2], reference_steps=0)
    assert load_run(finished / "r").references == ()


@pytest.mark.parametrize(
    ("changes", "subsets"),
    [
        ({}, set()),
        pytest.param({"target": "val_loss=1.2"}, {6, 12}, marks=pytest.mark.slow),
        pytest.param({"reference_steps": 0}, {6, 12}, marks=pytest.mark.slow),
    ],
    ids=["reference run", "validation", "training-free"],
)
def test_what_a_part_of_the_samples_is_simulated_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], subsets: set[int]
) -> None:
    asked: list[int | None] = []
    solve = Solvers.solve

    def noted(self: Solvers, budgets: Any, simulation: Any, phase: Any) -> Any:
        asked.append(simulation.subset)
        return solve(self, budgets, simulation, phase)

    monkeypatch.setattr(Solvers, "solve", noted)
    _rank(tmp_path, space=SPACE[:2], samples=24, max_epochs=10.0, **changes)
    assert set(asked) - {None} == subsets


def test_what_diverges_is_named(base: tuple[raytt.Ranking, Path]) -> None:
    (lost,) = [entry for entry in base[0].entries if entry.candidate.lr == 1e9]
    assert lost.forecast.status is Status.UNSTABLE


def test_one_worker_gives_the_same_bits(base: tuple[raytt.Ranking, Path], tmp_path: Path) -> None:
    assert _numbers(_rank(tmp_path, num_workers=1)) == _numbers(base[0])


def test_a_run_of_the_same_name_computes_nothing(
    base: tuple[raytt.Ranking, Path], finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("computed again")

    for owner, name in ((tangents, "compute"), (tangents, "_stacked"), (Solvers, "_start")):
        monkeypatch.setattr(owner, name, never)
    assert _numbers(_rank(finished)) == _numbers(base[0])


def test_other_candidates_of_the_family_share_the_tangents_only_with_the_same_reference(finished: Path) -> None:
    """The reference depends on the candidates: leaving the slowest out may choose another, which is then run."""
    ranking = _rank(finished, space=SPACE[:-1])
    assert len(ranking.entries) == len(SPACE) - 1
    assert ranking.best is not None


def _with_many_classes() -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(36, 40))
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) / max(p[0].numel(), 4) ** 0.5)
    return net


def _ten_digits(start: int, stop: int) -> tuple[torch.Tensor, torch.Tensor]:
    digits = load_digits()
    images = torch.tensor(digits.images[start:stop] / 8.0 - 1.0, dtype=torch.float32).unsqueeze(1)
    return images, torch.tensor(digits.target[start:stop] * 4)


@pytest.mark.slow
def test_few_of_many_outputs_predict_like_all_of_them(tmp_path: Path) -> None:
    task = raytt.Task(mode="eval", name="many", model=_with_many_classes, data=lambda: _ten_digits(0, 80))
    space = [
        *({"lr": lr, "batch_size": 16} for lr in (0.05, 0.2)),
        {"optimizer": "adamw", "lr": 0.01, "batch_size": 16},
    ]
    options: dict[str, Any] = {"task": task, "space": space, "target": 0.5, "max_epochs": 100.0}
    every = _rank(tmp_path / "every", max_outputs=40, **options)
    few = _rank(tmp_path / "few", max_outputs=16, **options)
    assert any("Of the network's 40 outputs 16 were probed per sample" in note for note in few.notes)
    steps = {entry.candidate: entry.forecast.steps for entry in every.entries}
    errors = []
    for entry in few.entries:
        expected = steps[entry.candidate]
        assert entry.forecast.steps is not None
        assert expected is not None
        errors.append(abs(np.log(entry.forecast.steps / expected)))
    assert max(errors) < 0.15, errors
    assert _numbers(_rank(tmp_path / "alone", max_outputs=16, num_workers=1, **options)) == _numbers(few)


@pytest.mark.slow
def test_few_outputs_serve_validation_targets_and_label_smoothing(tmp_path: Path) -> None:
    task = raytt.Task(
        mode="eval",
        name="many",
        model=_with_many_classes,
        data=lambda: _ten_digits(0, 80),
        validation=lambda: _ten_digits(80, 140),
        loss=raytt.CrossEntropy(label_smoothing=0.1),
    )
    found = []
    for count in (40, 24):
        options: dict[str, Any] = {"space": ADAMW[3:], "target": "val_loss=2.8", "max_outputs": count}
        (entry,) = _rank(tmp_path / str(count), task=task, **options).entries
        assert entry.forecast.status is Status.REACHED
        found.append(entry.forecast.steps)
    assert found[1] == pytest.approx(found[0], rel=0.1)


def test_a_validation_target_is_followed_along_the_path(finished: Path) -> None:
    ranking = _rank(finished, space=SPACE[:4], target="val_accuracy=0.8")
    assert ranking.best is not None
    assert ranking.best.forecast.val_accuracy is not None
    assert ranking.best.forecast.val_accuracy >= 0.75


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reference_steps": -1}, "reference_steps is -1"),
        ({"reference_steps": 0}, "need a reference run"),
        ({"method": "sde", "reference_steps": 5}, "the equation has a single tangent"),
    ],
)
def test_bad_input(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(raytt.InputError, match=message):
        _rank(tmp_path, **changes)
