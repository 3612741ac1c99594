from __future__ import annotations

import asyncio
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

from raytt.cluster.plumbing.cached_tasks import run_cached
from raytt.cluster.plumbing.progress import Phase
from raytt.cluster.plumbing.run_files import Clerk, Files, intact_records
from raytt.cluster.plumbing.session import Session
from raytt.errors import WorkerError
from raytt.store.cache import Cache, json_cache
from raytt.store.run import Run

# Workers cannot import test modules.
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])

pytestmark = pytest.mark.usefixtures("ray_session")


@ray.remote(num_cpus=0)
class _Gate:
    """Tells of the tasks that are done, so that others can wait for them."""

    def __init__(self) -> None:
        self._done: defaultdict[int, asyncio.Event] = defaultdict(asyncio.Event)

    async def note(self, number: int) -> None:
        self._done[number].set()

    async def wait(self, number: int) -> None:
        await self._done[number].wait()


@ray.remote(num_cpus=0)
def _square(number: int, gate: Any, after: int | None, fails: bool) -> int:
    """Waits until the task of number ``after`` is done."""
    if after is not None:
        ray.get(gate.wait.remote(after))
    if fails:
        raise OSError("the disk is gone")
    ray.get(gate.note.remote(number))
    return number**2


def _cache(run: Run) -> Cache[int, int, int]:
    return json_cache(
        run,
        key=lambda n: f"key-{n}",
        file=lambda n, _: f"{n}.json",
        encode=lambda n: [n],
        decode=lambda stored: stored[0],
    )


class _Tasks:
    """Squares of numbers in a run directory."""

    def __init__(self, folder: Path) -> None:
        self.run = Run.open(folder, "r", task_name="t")
        self.phase = Phase("p", "", None)
        self.started: list[int] = []
        self.gate = _Gate.remote()

    def __call__(
        self,
        *numbers: int,
        after: dict[int, int] | None = None,
        fails: int | None = None,
        order: Callable[[int], Any] | None = None,
        in_flight: int = 8,
    ) -> list[int]:
        def start(number: int) -> Any:
            self.started.append(number)
            return _square.remote(number, self.gate, (after or {}).get(number), number == fails)

        return run_cached(
            numbers,
            _cache(self.run),
            start=start,
            label=lambda number: f"Squaring {number}",
            what="squares",
            phase=self.phase,
            order=order,
            in_flight=in_flight,
        )


def test_results_come_in_the_order_of_the_items_whatever_ends_first(tmp_path: Path) -> None:
    tasks = _Tasks(tmp_path)
    assert tasks(2, 3, 5, after={2: 3, 3: 5}) == [4, 9, 25]
    assert set(tasks.run.files) == {"2.json", "3.json", "5.json"}
    assert (tasks.phase.done, tasks.phase.total, tasks.phase.what) == (3, 3, "squares")


def test_only_what_is_missing_is_computed(tmp_path: Path) -> None:
    _Tasks(tmp_path)(2, 5)
    again = _Tasks(tmp_path)
    assert again(5, 3, 2) == [25, 9, 4]
    assert again.started == [3]
    assert (again.phase.done, again.phase.total) == (1, 1)
    nothing = _Tasks(tmp_path)
    assert nothing(2, 3) == [4, 9]
    assert (nothing.started, nothing.phase.total) == ([], 0)


def test_a_damaged_file_is_computed_again(tmp_path: Path) -> None:
    _Tasks(tmp_path)(2, 3)
    (tmp_path / "r/2.json").write_text("[5]")
    again = _Tasks(tmp_path)
    assert again(2, 3) == [4, 9]
    assert again.started == [2]
    assert (tmp_path / "r/2.json").read_text().split() == ["[", "4", "]"]


def test_an_error_keeps_what_was_done_before(tmp_path: Path) -> None:
    tasks = _Tasks(tmp_path)
    with pytest.raises(WorkerError, match=r"^Squaring 3 failed:[\s\S]*the disk is gone"):
        tasks(2, 3, 5, after={3: 2, 5: 3}, fails=3)
    again = _Tasks(tmp_path)
    assert again(2, 3, 5) == [4, 9, 25]
    assert again.started == [3, 5]


def test_missing_items_are_begun_in_the_wanted_order(tmp_path: Path) -> None:
    tasks = _Tasks(tmp_path)
    assert tasks(2, 5, 3, order=lambda number: -number, in_flight=1) == [4, 25, 9]
    assert tasks.started == [5, 3, 2]


def test_records_of_files_are_those_that_are_undamaged_and_made_from_the_same(tmp_path: Path) -> None:
    run = Run.open(tmp_path, "r", task_name="t")
    for name in ("a", "b", "c", "d"):
        run.write_arrays(f"{name}.arrow", {"x": np.arange(3)}, made_from="key")
    run.storage.write_bytes("b.arrow", b"junk")
    run.storage.delete("c.arrow")
    clerk = ray.remote(Clerk).options(num_cpus=0).remote()
    files = Files(Session(started_here=False, is_client=False), run.storage, clerk)
    asked = {"d.arrow": "key", "a.arrow": "key", "b.arrow": "key", "c.arrow": "key", "e.arrow": "key"}
    assert list(intact_records(run, files, asked)) == ["d.arrow", "a.arrow"]
    assert intact_records(run, files, asked | {"a.arrow": "other"}) == {"d.arrow": run.files["d.arrow"]}
