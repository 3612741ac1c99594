from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from raytt.adapters.tune.search_space import draw
from raytt.cli.main import app
from raytt.errors import InputError
from raytt.task.load import load_task
from raytt.training.datasets import load_batch, open_dataset
from raytt.training.model import prepare_as_trained, weights_fingerprint


def init(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["init", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


# Hugging Face reports new layers on standard error, EfficientNet on standard output; neither is a warning.
@pytest.mark.parametrize(("kind", "outputs"), [("small", 5), ("image", 10), ("text", 6)])
def test_what_it_writes_can_be_trained(kind: str, outputs: int) -> None:
    file = f"{kind}_task.py"
    assert f"raytt rank {file}" in init(file, "--kind", kind)
    assert f"raytt rank {file}" in Path(file).read_text()
    loaded = load_task(file)
    assert loaded.target is not None
    assert len(draw(loaded.search_space, num_candidates=6, seed=0).candidates) == 6
    model = prepare_as_trained(loaded.task)
    assert weights_fingerprint(model.module) == weights_fingerprint(prepare_as_trained(loaded.task).module)
    for source in (loaded.task.data, loaded.task.validation):
        inputs, targets = load_batch(loaded.task, open_dataset(source, loaded.task), [0, 1, 2])
        with torch.no_grad():
            assert model.forward(model.module.eval(), inputs).shape == (3, outputs)
        assert int(targets.max()) < outputs


def test_training_and_validation_samples_are_others() -> None:
    init()
    task = load_task("my_task.py").task
    train, held_out = open_dataset(task.data, task), open_dataset(task.validation, task)
    seen = {tuple(train[i][0].tolist()) for i in range(len(train))}  # type: ignore[arg-type]
    assert all(tuple(held_out[i][0].tolist()) not in seen for i in range(len(held_out)))  # type: ignore[arg-type]


def test_a_file_that_is_there_is_kept() -> None:
    Path("my_task.py").write_text("mine")
    with pytest.raises(InputError, match=r"my_task\.py is there already.*--force"):
        init()
    assert Path("my_task.py").read_text() == "mine"
    init("--force")
    assert "raytt.Task" in Path("my_task.py").read_text()


def test_the_name_must_be_that_of_a_python_file() -> None:
    with pytest.raises(InputError, match=r"ends in \.py"):
        init("task.txt")


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_what_it_writes_can_be_ranked() -> None:
    """The small task; the others are ranked by the commands of the tutorial, see `tests/docs/test_tutorial.py`."""
    import raytt

    init("task.py", "--kind", "small")
    loaded = load_task("task.py")
    ranking = raytt.rank(
        loaded.task,
        loaded.search_space,
        target=loaded.target or 0.1,
        num_candidates=4,
        estimator=raytt.EstimatorSettings(samples=32, proj_dim=256, num_paths=2),
        cluster=raytt.ClusterSettings(num_workers=1),
        run=raytt.RunSettings(storage_path="runs", progress=False),
    )
    assert len(ranking.entries) == 4
