from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import ray

from raytt.cluster.plumbing import dispatch
from raytt.cluster.plumbing.dispatch import await_cpu, fetch, run_tasks
from raytt.errors import InputError, ResourceError, WorkerError
from tests.support.clock import Clock

# Workers cannot import test modules.
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])

pytestmark = pytest.mark.usefixtures("ray_session")


@ray.remote(num_cpus=1)
def _double(x: int, trouble: str = "") -> int:
    if trouble == "raise":
        raise KeyError("always")
    if trouble == "input":
        raise InputError("Too large.", "Make it smaller.")
    if trouble == "die":
        os._exit(1)
    return 2 * x


# Retried as raytt's own tasks are: cancelling one test's tasks may kill a worker that already has the next test's.
_DIES_ONCE = _double.options(max_retries=0)


def _submit(x: int, trouble: str) -> Any:
    return (_DIES_ONCE if trouble == "die" else _double).remote(x, trouble)


def _run_tasks(trouble: dict[int, str], *, in_flight: int = 3) -> dict[int, int]:
    done: dict[int, int] = {}
    run_tasks(
        [lambda attempt, x=x: _submit(x, trouble.get(x, "")) for x in range(7)],
        [f"task {x}" for x in range(7)],
        on_done=done.__setitem__,
        in_flight=in_flight,
    )
    return done


@pytest.mark.parametrize("in_flight", [1, 3, 100])
def test_tasks_are_all_done(in_flight: int) -> None:
    assert _run_tasks({}, in_flight=in_flight) == {x: 2 * x for x in range(7)}


def test_a_failing_task_shows_which_and_why() -> None:
    with pytest.raises(WorkerError, match="task 5 failed") as caught:
        _run_tasks({5: "raise"})
    assert "KeyError: 'always'" in str(caught.value)


def test_a_dying_task_is_a_worker_error() -> None:
    with pytest.raises(WorkerError, match="task 5 failed"):
        _run_tasks({5: "die"})


def test_our_own_errors_come_back_from_tasks() -> None:
    with pytest.raises(InputError) as caught:
        _run_tasks({0: "input"})
    assert caught.value.remedy == "Make it smaller."


def test_lost_inputs_are_submitted_again() -> None:
    attempts: list[int] = []

    @ray.remote(num_cpus=1)
    def lost() -> None:
        raise ray.exceptions.ObjectLostError("aa", ray.exceptions.WorkerCrashedError, "")  # as a task meets it

    def submit(attempt: int) -> Any:
        attempts.append(attempt)
        return lost.remote() if attempt < 2 else _double.remote(4)

    done: dict[int, int] = {}
    run_tasks([submit], ["x"], on_done=done.__setitem__)
    assert (attempts, done) == ([0, 1, 2], {0: 8})


def test_a_hung_task_is_submitted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts: list[int] = []
    done: dict[int, int] = {}

    class HangsForAnHour(Clock):
        """Put forward by an hour for each task that has begun to hang, once the other one is done."""

        def monotonic(self) -> float:
            self.ahead = 3600.0 * len(list(tmp_path.iterdir())) if 0 in done else self.ahead
            return super().monotonic()

    monkeypatch.setattr(dispatch, "time", HangsForAnHour())

    @ray.remote(num_cpus=1)
    def hang() -> int:
        (tmp_path / str(time.time_ns())).touch()
        time.sleep(600)
        return 0

    def submit(attempt: int) -> Any:
        attempts.append(attempt)
        return hang.remote() if attempt == 0 else _double.remote(5)

    others = [lambda attempt: _double.remote(1)]
    run_tasks([*others, submit], ["x", "y"], on_done=done.__setitem__)
    assert (attempts, done) == ([0, 1], {0: 2, 1: 10})
    done.clear()
    with pytest.raises(WorkerError, match="y hung 2 times"):
        run_tasks([*others, lambda _: hang.remote()], ["x", "y"], on_done=done.__setitem__, retries=1)


def test_fetch_names_what_failed() -> None:
    assert fetch(_double.remote(3), "Doubling") == 6
    with pytest.raises(WorkerError, match="Doubling failed"):
        fetch(_double.remote(3, "raise"), "Doubling")
    with pytest.raises(InputError):
        fetch(_double.remote(3, "input"), "Doubling")
    with pytest.raises(ResourceError, match="Asked for GPU: 3, which did not come within 1 s: the cluster has CPU: 4"):
        fetch(_double.options(num_gpus=3).remote(3), "Doubling", seconds=1.0, asked="GPU: 3")


def test_a_task_that_is_slow_to_start_though_there_is_room_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start_slowly(file: str) -> None:
        while not Path(file).exists():
            time.sleep(0.05)

    class Task:
        def remote(self) -> Any:
            return ray.remote(num_cpus=1)(start_slowly).remote(str(tmp_path / "go"))

    def has_room(_: Any) -> bool:
        (tmp_path / "go").touch()
        return True

    monkeypatch.setattr(dispatch, "_NOTHING", Task())
    monkeypatch.setattr(dispatch, "has_room", has_room)
    await_cpu(0.5)
    (tmp_path / "go").unlink()
    monkeypatch.setattr(dispatch, "has_room", lambda _: True)
    monkeypatch.setattr(dispatch, "START_SECONDS", 0.5)
    with pytest.raises(ResourceError, match=r"Asked for CPU: 1, which did not come within 1 s"):
        await_cpu(0.5)


def test_what_others_have_done_by_the_time_of_a_failure_is_handed_on() -> None:
    done: dict[int, int] = {}
    refs = [_double.remote(x, trouble) for x, trouble in ((1, "raise"), (2, ""), (3, ""))]
    ray.wait(refs, num_returns=3)
    with pytest.raises(WorkerError, match="x failed"):
        run_tasks([lambda _, ref=ref: ref for ref in refs], ["x", "y", "z"], on_done=done.__setitem__)
    assert done == {1: 4, 2: 6}
