"""Every Python block of the documentation runs: those of a page in order, as one program."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from torch.utils.data import Dataset

import raytt
from raytt.task.losses import as_loss
from raytt.training.datasets import open_dataset
from raytt.training.first_pass import first_pass
from raytt.training.model import prepare_as_trained
from raytt.training.objective import Objective

from .pages import PAGES, blocks

pytestmark = [pytest.mark.usefixtures("ray_session"), pytest.mark.timeout(900)]

ELSEWHERE = {"docs/tutorial.md"}
"""Pages whose code runs in a test of its own (`test_tutorial`)."""
EXAMPLES = sorted(page for page in PAGES if blocks(page, "python") and page not in ELSEWHERE | {"README.md"})

YOURS = '''
"""What the README takes as given: a pre-trained network and a data set."""

import torch


def load_pretrained():
    net = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Tanh())
    net.fc = torch.nn.Identity()
    return net


def flowers(split):
    generator = torch.Generator().manual_seed(0 if split == "train" else 1)
    inputs = torch.randn(32, 8, generator=generator)
    return inputs, (inputs[:, 0] > 0).long()
'''


def _run(file: Path, code: str) -> ModuleType:
    """The code as a module of its own, as if a user had written the file."""
    file.write_text(code, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[file.stem]
    return module


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, ray_session: None) -> Path:
    """A working directory where the README was followed: a task file, and the ranking that it makes."""
    folder = tmp_path_factory.mktemp("docs")
    task_file, *rest = blocks("README.md", "python")
    (folder / "my_task.py").write_text(f"{YOURS}\n{task_file}", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        module = _run(folder / "readme_page.py", "\n".join([YOURS, task_file, *rest]))
    module.ranking.save(folder / "ranking.json")
    return folder


def test_readme(folder: Path) -> None:
    ranking = raytt.Ranking.load(folder / "ranking.json")
    assert len(ranking.entries) == 8
    assert ranking.best is not None
    assert ranking.best.forecast.reaches


@pytest.mark.parametrize("page", EXAMPLES)
def test_page(page: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    name = page.replace("/", "_").replace("-", "_").removesuffix(".md")
    module = _run(folder / f"{name}_page.py", "\n".join(blocks(page, "python")))
    for task in (value for value in vars(module).values() if isinstance(value, raytt.Task)):
        _check(task)


def _check(task: raytt.Task) -> None:
    """A task that the page defines can be trained: its data, network and loss fit together."""
    for source in (task.data, task.validation):
        if source is not None:
            dataset: Dataset[object] = open_dataset(source, task)
            objective, prepared = Objective(task), prepare_as_trained(task)
            batch = objective.read(dataset, [0, 1, 2])
            assert first_pass(prepared, objective, batch, task=task.name).without_gradient == ()
            if task.mode == "eval":
                inputs, targets = batch
                as_loss(task.loss).check(prepared.forward(prepared.module, inputs).detach(), targets)


def test_all_pages_with_python_are_found() -> None:
    assert set(EXAMPLES) >= {"docs/task.md", "docs/money.md", "docs/tune-and-optuna.md"}
