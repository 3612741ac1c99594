"""Whole rankings of a tiny real network, on Ray."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import ray.data
import torch
from ray import tune
from sklearn.datasets import load_digits
from torch import Tensor, nn

import raytt
from raytt.cluster.stages.probe import Probed
from raytt.cluster.stages.solve import Solvers
from raytt.forecast.forecast import Status
from raytt.pricing.step_time import StepTime
from raytt.store.run import Run
from raytt.workflows import predict, step_costs
from tests.support.settings import grouped

pytestmark = pytest.mark.usefixtures("shared_actors")

CLASSES = 4


def _model() -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(36, CLASSES)
    )
    with torch.no_grad():
        for p in net.parameters():
            if p.ndim > 1:
                p.copy_(torch.randn(p.shape, generator=generator) / p[0].numel() ** 0.5)
        net[0].bias.zero_()
        net[5].bias.zero_()
    return net


def _digits(start: int, count: int) -> tuple[Tensor, Tensor]:
    digits = load_digits(n_class=CLASSES)
    chosen = slice(start, start + count)
    images = torch.tensor(digits.images[chosen] / 8.0 - 1.0, dtype=torch.float32).unsqueeze(1)
    return images, torch.tensor(digits.target[chosen])


TASK = raytt.Task(
    mode="eval", name="tiny", model=_model, data=lambda: _digits(0, 40), validation=lambda: _digits(40, 24)
)
SPACE = [
    {"lr": lr, "momentum": momentum, "batch_size": batch}
    for lr in (0.003, 0.1)
    for momentum in (0.0, 0.9)
    for batch in (8, 16)
] + [{"lr": 1e9, "batch_size": 16}]


def _rank(folder: Path, task: raytt.Task = TASK, space: Any = SPACE, **changes: Any) -> raytt.Ranking:
    options: dict[str, Any] = {
        "target": 0.3,
        "proj_dim": 256,
        "storage_path": folder,
        "name": "r",
        "num_workers": 2,
        "num_paths": 3,
        "reference_steps": 0,
        "progress": False,
    }
    return raytt.rank(task, space, **grouped(options | changes))


def steady_times(task: Any, sizes: list[int], **_: Any) -> dict[int, StepTime]:
    """Step times that do not depend on the machine; `tests/cluster/stages/test_step_times.py` measures real ones."""
    return {b: StepTime(batch_size=b, seconds=0.01 * b, low=0.009 * b, high=0.012 * b, source="made up") for b in sizes}


@pytest.fixture(scope="module", autouse=True)
def steady_clock() -> Iterator[None]:
    """A step takes 0.01 s per sample."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step_costs, "measure_step_times", steady_times)
        yield


@pytest.fixture
def finished(base: tuple[raytt.Ranking, Path], tmp_path: Path) -> Path:
    """A copy of its directory."""
    shutil.copytree(base[1] / "r", tmp_path / "r")
    return tmp_path


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is computed rather than taken from the run directory."""
    done: list[str] = []
    probe, start = predict.probe, Solvers._start

    def watched_probe(*arguments: Any, **options: Any) -> Probed:
        probed = probe(*arguments, **options)
        done.extend(["block"] * probed.computed)
        return probed

    def watched_start(self: Solvers, piece: Any, *rest: Any) -> Any:
        done.append("piece")
        return start(self, piece, *rest)

    monkeypatch.setattr(predict, "probe", watched_probe)
    monkeypatch.setattr(Solvers, "_start", watched_start)
    return done


def _numbers(ranking: raytt.Ranking) -> list[Any]:
    return ranking.to_json()["candidates"]  # type: ignore[no-any-return]


def _hashes(folder: Path) -> dict[str, str]:
    files = Run.open(folder, "r", task_name="t").files
    return {file: record.sha256 for file, record in files.items() if file != "ranking.json"}


def test_a_ranking_says_what_it_should(base: tuple[raytt.Ranking, Path]) -> None:
    ranking, folder = base
    assert ranking.task == "tiny"
    assert [entry.rank for entry in ranking.entries] == list(range(1, 10))
    assert {entry.candidate for entry in ranking.entries} == {raytt.Candidate(**config) for config in SPACE}
    assert ranking.entries[-1].candidate.lr == 1e9
    assert ranking.entries[-1].forecast.status is Status.UNSTABLE
    best = ranking.best
    assert best is not None
    assert best.candidate.lr == 0.1
    assert best.forecast.status is Status.REACHED
    assert best.seconds == pytest.approx(best.forecast.steps * 0.01 * best.candidate.batch_size)
    assert best.epochs == pytest.approx(best.forecast.steps * best.candidate.batch_size / 40)
    assert list(ranking.phases) == ["start", "probe", "reduce", "time", "solve", "rank"]
    assert any("batch-norm" in note for note in ranking.notes)
    facts = ranking.provenance
    assert (facts.num_samples, facts.num_samples_full, facts.num_outputs, facts.proj_dim) == (40, 40, CLASSES, 256)
    assert facts.num_trainable == sum(p.numel() for p in _model().parameters())
    assert facts.step_seconds == {8: 0.08, 16: 0.16}
    images, labels = _digits(0, 40)
    with torch.no_grad():
        loss = nn.functional.cross_entropy(_model().eval()(images), labels)
    assert facts.initial_loss == pytest.approx(float(loss), rel=1e-5)
    saved = json.loads((folder / "r" / "ranking.json").read_text())
    assert saved == ranking.to_json()
    assert str(raytt.Ranking.load(folder / "r" / "ranking.json")) == str(ranking)


def test_predictions_are_near_real_training(base: tuple[raytt.Ranking, Path]) -> None:
    from raytt.training.loop import train

    for entry in base[0].entries:
        if entry.forecast.status is not Status.REACHED:
            continue
        budget = 4 * int(entry.forecast.steps or 0)
        curve = train(TASK, entry.candidate, seed=1, steps=budget, record_at=list(range(budget + 1)))
        loss = np.asarray(curve.train_loss)
        steps = int(np.argmax(loss <= 0.3 * loss[0]))
        # The tangent misses how features grow, which on this small network is a matter of tens of per cent.
        assert 0.4 < steps / entry.forecast.steps < 1.6, (entry.candidate, steps, entry.forecast.steps)


@pytest.mark.parametrize("num_workers", [1, 3])
def test_any_number_of_workers_gives_the_same_bits(
    base: tuple[raytt.Ranking, Path], tmp_path: Path, num_workers: int
) -> None:
    assert _numbers(_rank(tmp_path, num_workers=num_workers)) == _numbers(base[0])
    assert _hashes(tmp_path) == _hashes(base[1])


def test_the_order_of_candidates_does_not_matter(base: tuple[raytt.Ranking, Path], finished: Path) -> None:
    assert _numbers(_rank(finished, space=SPACE[::-1])) == _numbers(base[0])


def test_a_run_of_the_same_name_computes_nothing(
    base: tuple[raytt.Ranking, Path], finished: Path, work: list[str]
) -> None:
    again = _rank(finished)
    assert work == []
    assert _numbers(again) == _numbers(base[0])
    assert _hashes(finished) == _hashes(base[1])
    # Its cost so far is that of both calls.
    assert all(again.phases[phase] >= seconds for phase, seconds in base[0].phases.items())


@pytest.mark.parametrize(
    ("changes", "pieces"),
    [({"usd_per_hour": 2.0}, 0), ({"space": SPACE[:-1]}, 2), ({"target": 0.5}, 4), ({"max_epochs": 5.0}, 4)],
)
def test_candidates_target_and_price_leave_the_probe_alone(
    finished: Path, work: list[str], changes: dict[str, Any], pieces: int
) -> None:
    ranking = _rank(finished, **changes)
    assert "block" not in work
    # Two batch sizes × two pairs of paths; whether some are simulated without noise as well depends on the target.
    assert work.count("piece") >= pieces
    assert (ranking.entries[0].usd is not None) == ("usd_per_hour" in changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"proj_dim": 128}, "proj_dim: 256 → 128"),
        ({"samples": 32}, "samples: 40 → 32"),
        ({"seed": 1}, "proj_seed: 0 → 1"),
        ({"task": replace(TASK, data=lambda: _digits(1, 40))}, "data: "),
        ({"task": replace(TASK, loss=raytt.CrossEntropy(label_smoothing=0.1))}, "loss: .*0.0.* → .*0.1"),
    ],
)
def test_changed_inputs_are_refused(finished: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(raytt.StoreError, match=message):
        _rank(finished, **changes)


def test_an_interrupted_run_keeps_what_is_done(
    base: tuple[raytt.Ranking, Path], tmp_path: Path, work: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Solvers._store
    calls: list[str] = []

    def interrupted(self: Solvers, key: str, curves: Any) -> None:
        store(self, key, curves)
        calls.append(key)
        if len(calls) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Solvers, "_store", interrupted)
        with pytest.raises(KeyboardInterrupt):
            _rank(tmp_path)
    work.clear()
    assert _numbers(_rank(tmp_path)) == _numbers(base[0])
    assert "block" not in work
    # All but the two that were kept.
    assert work.count("piece") == len(list((tmp_path / "r" / "curves").iterdir())) - 2 > 0
    assert len(calls) == 2


def test_nothing_large_passes_the_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    get = ray.get

    def watched(refs: Any, **options: Any) -> Any:
        value = get(refs, **options)
        sizes.append(len(ray.cloudpickle.dumps(value)))
        return value

    monkeypatch.setattr(ray, "get", watched)
    _rank(tmp_path, proj_dim=4096)
    block = 16 * CLASSES * 4096 * 4
    gram = (40 * CLASSES) ** 2 * 8
    # What comes is curves: candidates × 2 paths × some 60 records × 3 kinds × 8 bytes.
    assert len(sizes) > 10
    assert max(sizes) < 60_000 < min(block, gram)


def test_fewer_sketch_dimensions_than_rows(tmp_path: Path) -> None:
    # 160 rows: here the 48 × 48 sums answer, and the answer is rougher but alike.
    ranking = _rank(tmp_path, proj_dim=48)
    assert ranking.best is not None
    assert ranking.best.candidate.lr == 0.1


def test_a_validation_target_probes_validation_samples(finished: Path, work: list[str]) -> None:
    ranking = _rank(finished, target="val_accuracy=0.8")
    assert work.count("block") == 2
    assert ranking.best is not None
    assert ranking.best.forecast.val_accuracy is not None
    assert ranking.best.forecast.val_accuracy >= 0.75
    work.clear()
    assert _numbers(_rank(finished, target="val_accuracy=0.8")) == _numbers(ranking)
    assert work == []


def test_the_sde_answers_too(finished: Path) -> None:
    ranking = _rank(finished, space=SPACE[:-1], method="sde")
    assert ranking.method == "sde"
    assert ranking.best is not None
    assert ranking.best.candidate.lr == 0.1


def test_ray_data_gives_the_ranking_of_its_tensors(base: tuple[raytt.Ranking, Path], tmp_path: Path) -> None:
    images, labels = _digits(0, 40)

    def dataset() -> Any:
        return ray.data.from_items(
            [{"image": x.numpy(), "digit": int(y)} for x, y in zip(images, labels, strict=True)], override_num_blocks=3
        )

    task = replace(TASK, data=dataset, validation=None, target_column="digit", input_columns=["image"])
    assert _numbers(_rank(tmp_path, task)) == _numbers(base[0])


def test_a_tune_space_and_a_subsample(tmp_path: Path) -> None:
    space = {"lr": tune.loguniform(1e-3, 1.0), "batch_size": tune.choice([8, 16])}
    ranking = _rank(tmp_path, space=space, num_candidates=5, samples=24)
    assert len(ranking.entries) == 5
    assert (ranking.provenance.num_samples, ranking.provenance.num_samples_full) == (24, 40)


def _no_model() -> nn.Module:
    raise FileNotFoundError("weights.bin is not here")


_REFUSED: dict[str, tuple[type[raytt.RayttError], Callable[[], dict[str, Any]]]] = {
    "num_workers is 0": (raytt.InputError, lambda: {"num_workers": 0}),
    "num_paths is 0": (raytt.InputError, lambda: {"num_paths": 0}),
    "seed is -1": (raytt.InputError, lambda: {"seed": -1}),
    "max_epochs is nan": (raytt.InputError, lambda: {"max_epochs": float("nan")}),
    "method is 'magic'": (raytt.InputError, lambda: {"method": "magic"}),
    "precision is 'float8'": (raytt.InputError, lambda: {"precision": "float8"}),
    "proj_dim is 0": (raytt.InputError, lambda: {"proj_dim": 0}),
    "usd_per_hour is -1": (raytt.InputError, lambda: {"usd_per_hour": -1.0}),
    "optimizer 'lion' cannot be simulated in mode='eval'": (
        raytt.InputError,
        lambda: {"space": [{"optimizer": "lion", "lr": 1e-4}]},
    ),
    "The search space is an empty list": (raytt.InputError, lambda: {"space": []}),
    "it must lie in": (raytt.InputError, lambda: {"target": 1.5}),
    "needs validation data": (
        raytt.InputError,
        lambda: {"target": "val_loss=0.3", "task": replace(TASK, validation=None)},
    ),
    "a notion of a correct answer": (
        raytt.InputError,
        lambda: {"target": "accuracy=0.9", "task": replace(TASK, loss="squared_error")},
    ),
    "batch_size 64, but the training data has only N = 40 samples": (
        raytt.InputError,
        lambda: {"space": [{"lr": 0.1, "batch_size": 64}]},
    ),
    "batch_size 16, but only N = 12 samples": (raytt.InputError, lambda: {"samples": 12}),
    "41 samples were asked for, but the data set has 40": (raytt.InputError, lambda: {"samples": 41}),
    "The run name '../r'": (raytt.InputError, lambda: {"name": "../r"}),
    "use_gpu is False": (raytt.InputError, lambda: {"resources_per_worker": {"GPU": 1}}),
    "Cannot write": (raytt.StoreError, lambda: {"storage_path": Path(__file__) / "runs"}),
    "Asked for 2 workers with CPU: 1, GPU: 1 each, but the cluster holds 0": (
        raytt.ResourceError,
        lambda: {"use_gpu": True},
    ),
    "Asked for 9 workers with CPU: 1 each, but the cluster holds 4": (raytt.ResourceError, lambda: {"num_workers": 9}),
}


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("num_workers", r"Write cluster=raytt\.ClusterSettings\(num_workers=…\)"),
        ("proj_dim", r"Write estimator=raytt\.EstimatorSettings\(proj_dim=…\)"),
        ("storage_path", r"Write run=raytt\.RunSettings\(storage_path=…\)"),
    ],
)
def test_a_setting_given_flat_is_told_where_it_belongs(name: str, right: str) -> None:
    with pytest.raises(raytt.InputError, match=right):
        raytt.rank(TASK, SPACE, **{name: 1})


@pytest.mark.parametrize("message", _REFUSED)
def test_bad_input_is_refused_before_any_work(tmp_path: Path, message: str, work: list[str]) -> None:
    kind, changes = _REFUSED[message]
    with pytest.raises(kind, match=message):
        _rank(tmp_path, **changes())
    assert work == []


def test_a_target_below_what_the_loss_can_reach_is_refused(tmp_path: Path) -> None:
    task = replace(TASK, loss=raytt.CrossEntropy(label_smoothing=0.3))
    with pytest.raises(raytt.InputError, match="cannot fall below"):
        _rank(tmp_path, task, target=0.01)


def test_a_model_factory_that_fails_on_a_worker_shows_its_traceback(tmp_path: Path) -> None:
    with pytest.raises(raytt.WorkerError) as caught:
        _rank(tmp_path, replace(TASK, model=_no_model))
    assert "FileNotFoundError: weights.bin is not here" in str(caught.value)
    assert "in _no_model" in str(caught.value)


@pytest.mark.slow
def test_the_digits_example(tmp_path: Path) -> None:
    from raytt.examples import digits

    task = replace(digits.task, mode="eval")
    ranking = _rank(tmp_path, task, digits.search_space, target=digits.target, proj_dim=4096, num_candidates=8)
    assert len(ranking.entries) == 8
    assert ranking.best is not None
