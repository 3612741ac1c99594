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
from raytt.pricing.work import StepWork
from raytt.store.run import Run
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

    def remote(self, task: Any, sizes: list[int]) -> Any:
        self.calls += 1
        return ray.put(work._count(task, sizes))


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


def measure(folder: Path, task: Task, sizes: list[int]) -> tuple[dict[int, StepWork], tuple[str, ...]]:
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


def test_a_network_that_cannot_be_counted_is_a_note(tmp_path: Path, counter: InProcess) -> None:
    for _ in range(2):
        found, (note,) = measure(tmp_path, Task(mode="eval", name="t", model=Looking, data=DATA), [2])
        assert found == {}
        assert "could not be counted (" in note
        assert "other hardware has no times" in note
        assert "\n" not in note
    assert counter.calls == 1
