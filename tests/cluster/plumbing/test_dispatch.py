from __future__ import annotations

import os
import sys
import time
from typing import Any

import pytest
import ray

from raytt.cluster.plumbing import dispatch
from raytt.cluster.plumbing.dispatch import await_cpu, fetch, run_tasks
from raytt.errors import InputError, ResourceError, WorkerError

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


def test_a_hung_task_is_submitted_again() -> None:
    attempts: list[int] = []

    @ray.remote(num_cpus=1)
    def hang() -> int:
        time.sleep(600)
        return 0

    def submit(attempt: int) -> Any:
        attempts.append(attempt)
        return hang.remote() if attempt == 0 else _double.remote(5)

    done: dict[int, int] = {}
    others = [lambda attempt: _double.remote(1)]
    run_tasks([*others, submit], ["x", "y"], on_done=done.__setitem__, hang_seconds=2.0)
    assert (attempts, done) == ([0, 1], {0: 2, 1: 10})
    with pytest.raises(WorkerError, match="y hung 2 times"):
        run_tasks([*others, lambda _: hang.remote()], ["x", "y"], on_done=done.__setitem__, hang_seconds=2.0, retries=1)


def test_fetch_names_what_failed() -> None:
    assert fetch(_double.remote(3), "Doubling") == 6
    with pytest.raises(WorkerError, match="Doubling failed"):
        fetch(_double.remote(3, "raise"), "Doubling")
    with pytest.raises(InputError):
        fetch(_double.remote(3, "input"), "Doubling")
    with pytest.raises(ResourceError, match="Asked for GPU: 3, which did not come within 1 s: the cluster has CPU: 4"):
        fetch(_double.options(num_gpus=3).remote(3), "Doubling", seconds=1.0, asked="GPU: 3")


def test_a_task_that_is_slow_to_start_though_there_is_room_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "_NOTHING", ray.remote(num_cpus=1)(lambda: time.sleep(3.0)))
    await_cpu(0.5)
    monkeypatch.setattr(dispatch, "START_SECONDS", 1.0)
    with pytest.raises(ResourceError, match=r"Asked for CPU: 1, which did not come within 2 s"):
        await_cpu(0.5)
