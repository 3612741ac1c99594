"""Counting on a worker: what is kept, what is used again, and networks that cannot be counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from torch import Tensor, nn

from raytt.cluster.plumbing.progress import Phase
from raytt.cluster.stages import step_work as work
from raytt.cluster.stages.step_work import measure_work
from raytt.pricing.step_key import StepKey
from raytt.pricing.work import StepWork
from raytt.store.run import Run
from raytt.task.candidate import ModelArguments
from raytt.task.task import Task

DATA = (torch.zeros(4, 3), torch.zeros(4, dtype=torch.int64))
TASK = Task(mode="eval", name="t", model=lambda: nn.Linear(3, 2, bias=False), data=DATA)


class Looking(nn.Module):
    """Decides by what it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) if float(x.sum()) >= 0 else -self.inner(x)


class InProcess:
    """Stands for the Ray task."""

    def __init__(self) -> None:
        self.calls = 0

    def remote(self, task: Any, sizes: list[int], arguments: ModelArguments) -> Any:
        self.calls += 1
        return ray.put(work._count(task, sizes, arguments))


@pytest.fixture
def counter(ray_session: None, monkeypatch: pytest.MonkeyPatch) -> InProcess:
    made = InProcess()
    monkeypatch.setattr(work, "_COUNT", made)
    monkeypatch.setattr(work, "settle", lambda **_: None)
    return made


def run(folder: Path) -> Run:
    found = Run.open(folder, "r", task_name="t")
    found.check_inputs("probe", {"weights": "w"})
    return found


def measure(folder: Path, task: Task, sizes: list[StepKey]) -> tuple[dict[StepKey, StepWork], tuple[str, ...]]:
    return measure_work(task, sizes, run=run(folder), phase=Phase("time", "", None))


def test_it_is_counted_once_and_kept(tmp_path: Path, counter: InProcess) -> None:
    first, notes = measure(tmp_path, TASK, [8, 2, 8])
    assert notes == ()
    # Forward and weight gradient of one layer.
    assert {size: found.other_flops for size, found in first.items()} == {2: 2 * 2 * 2 * 6, 8: 2 * 2 * 8 * 6}
    assert measure(tmp_path, TASK, [2, 8]) == (first, ())
    assert counter.calls == 1
    measure(tmp_path, TASK, [2, 4, 8])
    assert counter.calls == 2


def wide(width: int = 2, look: bool = False) -> nn.Module:
    return Looking() if look else nn.Linear(3, width, bias=False)


def test_every_network_is_counted(tmp_path: Path, counter: InProcess) -> None:
    task = Task(name="t", model=wide, data=DATA)
    keys: list[StepKey] = [(8, (("width", 2),)), (2, (("width", 4),)), (8, (("width", 4),)), 8]
    first, notes = measure(tmp_path, task, keys)
    assert notes == ()
    assert {key: found.other_flops for key, found in first.items()} == {
        (8, (("width", 2),)): 2 * 2 * 8 * 6,
        (2, (("width", 4),)): 2 * 2 * 2 * 12,
        (8, (("width", 4),)): 2 * 2 * 8 * 12,
        8: 2 * 2 * 8 * 6,
    }
    assert counter.calls == 3
    assert measure(tmp_path, task, keys) == (first, ())
    found, (note,) = measure(tmp_path, task, [8, (8, (("look", True),))])
    assert set(found) == {8}
    assert "could not be counted" in note
    assert counter.calls == 4


def test_a_network_that_cannot_be_counted_is_a_note(tmp_path: Path, counter: InProcess) -> None:
    for _ in range(2):
        found, (note,) = measure(tmp_path, Task(mode="eval", name="t", model=Looking, data=DATA), [2])
        assert found == {}
        assert "could not be counted (" in note
        assert "other hardware has no times" in note
        assert "\n" not in note
    assert counter.calls == 1
