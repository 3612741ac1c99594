from __future__ import annotations

import importlib.util
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import ray
import torch
from torch import nn

from raytt.adapters.captured_model import CapturedModel
from raytt.adapters.items import Items
from raytt.cluster.plumbing.shipping import by_value, put
from raytt.errors import InputError
from raytt.task.task import Task

_HELPER = "import functools\n\n@functools.cache\ndef scale(x):\n    return 3 * x\n"
_TASK = """
import torch
from torch import nn
import raytt
from beside import scale
import beside

class Net(nn.Linear):
    def twice(self):
        return beside.scale(2)

def model():
    return Net(int(scale(1)), 1)

def data():
    return torch.zeros(4, 3), torch.zeros(4, 1)

task = raytt.Task(mode="eval", name="t", model=model, data=data, loss="squared_error")
"""


def _load(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def loaded(tmp_path: Path) -> Iterator[Task]:
    """A task from a file that imports a file beside it; neither can be imported by a worker."""
    (tmp_path / "beside.py").write_text(_HELPER)
    (tmp_path / "mine.py").write_text(_TASK)
    _load(tmp_path / "beside.py", "beside")
    yield _load(tmp_path / "mine.py", "mine").task
    del sys.modules["mine"], sys.modules["beside"]


def test_a_task_file_and_the_file_beside_it_travel_to_workers(ray_session: None, loaded: Task) -> None:
    remote = ray.remote(lambda task: (task.model().in_features, task.model().twice()))
    with by_value(loaded):
        assert ray.get(remote.remote(put(loaded))) == (3, 6)


def test_a_network_that_exists_already_takes_its_class_with_it(ray_session: None, loaded: Task) -> None:
    remote = ray.remote(lambda task: task.model()[0].twice())
    captured = replace(loaded, model=CapturedModel(nn.Sequential(loaded.model())), data=Items([(1, 2)], "data"))
    with by_value(captured):
        assert ray.get(remote.remote(put(captured))) == 6


def test_registration_ends(loaded: Task) -> None:
    with by_value(loaded):
        assert {"mine", "beside"} <= set(ray.cloudpickle.list_registry_pickle_by_value())
    assert not {"mine", "beside"} & set(ray.cloudpickle.list_registry_pickle_by_value())


def test_installed_modules_and_raytt_itself_go_by_name() -> None:
    task = Task(
        mode="eval",
        name="t",
        model=nn.Identity,
        data=(torch.zeros(1), torch.zeros(1)),
        collate=torch.utils.data.default_collate,
    )
    before = set(ray.cloudpickle.list_registry_pickle_by_value())
    with by_value(task):
        assert set(ray.cloudpickle.list_registry_pickle_by_value()) == before


def test_what_cannot_be_pickled_is_named_with_a_remedy(ray_session: None) -> None:
    lock = threading.Lock()

    def model() -> nn.Module:
        with lock:
            return nn.Linear(1, 1)

    with pytest.raises(InputError, match="cannot travel to workers") as caught:
        put(Task(mode="eval", name="t", model=model, data=(torch.zeros(1, 1), torch.zeros(1, 1))))
    assert "functions that build them" in caught.value.remedy
