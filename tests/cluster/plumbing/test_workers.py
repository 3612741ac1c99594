from __future__ import annotations

import math
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray

from raytt.cluster.plumbing import workers
from raytt.cluster.plumbing.dispatch import HANG_FACTOR
from raytt.cluster.plumbing.session import PLACEMENT_SECONDS, WorkerResources
from raytt.cluster.plumbing.workers import Item, Limits, Workers, patient
from raytt.errors import InputError, ResourceError, WorkerError
from raytt.settings.cluster import ClusterSettings
from tests.support.clock import Clock

# Workers cannot import test modules.
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])

pytestmark = pytest.mark.usefixtures("ray_session")


def _once(marker: Path) -> bool:
    """Whether this is the first call with that marker, over all processes."""
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


class Squarer:
    """Squares numbers; misbehaves as told."""

    def __init__(self, folder: str, load: Callable[[], None] | None = None) -> None:
        self._folder = Path(folder)
        self._load = load

    def place(self) -> str:
        return str(ray.get_runtime_context().get_node_id())

    def load(self) -> None:
        if self._load:
            self._load()

    def pid(self) -> int:
        return os.getpid()

    def wait_for(self, file: str) -> None:
        (self._folder / "waiting").touch()
        while not Path(file).exists():
            time.sleep(0.05)

    def square(self, x: int, trouble: str = "") -> tuple[int, Any]:
        if trouble == "die once" and _once(self._folder / f"{x}"):
            os._exit(1)
        if trouble == "hang once" and _once(self._folder / "hung"):
            time.sleep(600)
        if trouble == "stop once" and _once(self._folder / "hung"):
            os.kill(os.getpid(), signal.SIGSTOP)
        if trouble == "hang":
            _once(self._folder / f"hung-{time.time_ns()}")
            time.sleep(600)
        if trouble == "exit once" and _once(self._folder / f"{x}"):
            raise SystemExit(0)
        if trouble == "die":
            os._exit(1)
        if trouble == "raise once" and _once(self._folder / f"{x}"):
            raise OSError("a passing trouble")
        if trouble == "raise":
            _once(self._folder / f"try-{time.time_ns()}")
            raise KeyError("always")
        if trouble == "input":
            _once(self._folder / f"try-{time.time_ns()}")
            raise InputError("Labels run to 12.", "Re-number them.")
        return x * x, [x] * 1000


def _run(
    folder: Path,
    troubles: dict[int, str],
    *,
    count: int = 6,
    actors: int = 2,
    load: Any = None,
    said: list[str] | None = None,
    on_hang: Callable[[], None] = lambda: None,
    **limits: Any,
) -> dict[int, int]:
    """Squares by number; ``on_hang`` is called in each second in which one hangs and all others are done."""
    cls = ray.remote(Squarer)
    results: dict[int, int] = {}

    def item(x: int) -> Item:
        return Item(
            label=f"number {x}",
            start=lambda actor: actor.square.options(num_returns=2).remote(x, troubles.get(x, "")),
        )

    def on_done(number: int, receipt: int, refs: Any) -> None:
        assert number not in results
        results[number] = receipt
        assert ray.get(refs[0]) == [number] * 1000

    def on_quiet() -> None:
        if len(results) == count - 1 and list(folder.glob("hung*")):
            on_hang()

    spawn = partial(cls.options(num_cpus=1).remote, str(folder), load)
    heard = said if said is not None else []
    with Workers(spawn, limits=Limits(**limits), on_retry=heard.append) as workers:
        workers.run([item(x) for x in range(count)], num_actors=actors, on_done=on_done, on_quiet=on_quiet)
    return results


SQUARES = {x: x * x for x in range(6)}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """What `Workers` goes by. Workers that were created after it was put forward seem to have been so before."""
    clock = Clock()
    monkeypatch.setattr(workers, "time", clock)
    return clock


FORWARD: dict[str, Any] = {"placement_seconds": math.inf}
"""Limits where the clock is put forward."""


@pytest.mark.parametrize("actors", [1, 3])
def test_all_items_are_done_once(tmp_path: Path, actors: int) -> None:
    assert _run(tmp_path, {}, actors=actors) == SQUARES


def test_no_items(tmp_path: Path) -> None:
    assert _run(tmp_path, {}, count=0) == {}


@pytest.mark.parametrize("trouble", ["die once", "exit once"])
def test_items_of_a_dead_actor_are_done_by_its_replacement(tmp_path: Path, trouble: str) -> None:
    assert _run(tmp_path, {0: trouble, 3: trouble}, actors=1) == SQUARES


def test_a_passing_error_is_retried_and_said(tmp_path: Path) -> None:
    said: list[str] = []
    assert _run(tmp_path, {2: "raise once"}, actors=1, said=said) == SQUARES
    assert said == ["number 2 failed and is tried again (1 of 2): OSError: a passing trouble"]


@pytest.mark.parametrize("trouble", ["hang once", "stop once"])
def test_a_hung_worker_is_replaced(tmp_path: Path, clock: Clock, trouble: str) -> None:
    said: list[str] = []

    def hour() -> None:
        clock.ahead += 3600.0

    assert _run(tmp_path, {3: trouble}, said=said, on_hang=hour, **FORWARD) == SQUARES
    assert len(said) == 1
    assert "number 3 failed and is tried again (1 of 2): The worker hung: it has been at it for" in said[0]


def test_the_first_item_may_take_longer(tmp_path: Path, clock: Clock) -> None:
    waits: list[float] = []

    def half_an_hour() -> None:
        waits.append(clock.ahead)
        clock.ahead += 2000.0

    limits = {"hang_seconds": 300.0, "item_seconds": 3600.0, "retries": 0, **FORWARD}
    with pytest.raises(WorkerError, match=r"number 0 failed:\nThe worker hung"):
        _run(tmp_path, {0: "hang"}, count=1, actors=1, on_hang=half_an_hour, **limits)
    assert waits == [0.0, 2000.0]


def test_an_item_that_hangs_every_worker_is_given_up(tmp_path: Path, clock: Clock) -> None:
    def hour() -> None:
        clock.ahead += 3600.0

    with pytest.raises(WorkerError, match=r"number 5 failed 2 times:\nThe worker hung: .* for something that waits"):
        _run(tmp_path, {5: "hang"}, on_hang=hour, retries=1, **FORWARD)
    assert len(list(tmp_path.glob("hung-*"))) == 2


def test_slow_is_not_hung(tmp_path: Path, clock: Clock) -> None:
    """A worker that took 100 s to load may take ten times that for an item."""
    said: list[str] = []
    done: list[int] = []

    def load() -> None:
        (tmp_path / "loading").touch()
        while not (tmp_path / "load").exists():
            time.sleep(0.05)

    def go_on() -> None:
        for begun, seconds, file in (("loading", 100.0, "load"), ("waiting", HANG_FACTOR * 99.0, "go")):
            if (tmp_path / begun).exists() and not (tmp_path / file).exists():
                clock.ahead += seconds
                (tmp_path / file).touch()

    spawn = partial(ray.remote(Squarer).options(num_cpus=1).remote, str(tmp_path), load)
    items = [
        Item(label="quick", start=lambda actor: [actor.pid.remote()]),
        Item(label="slow", start=lambda actor: [actor.wait_for.remote(str(tmp_path / "go"))]),
    ]
    with Workers(spawn, limits=Limits(hang_seconds=0.0, **FORWARD), on_retry=said.append) as pool:
        pool.run(items, num_actors=1, on_done=lambda number, *_: done.append(number), on_quiet=go_on)
    assert (done, said) == ([0, 1], [])


def test_a_lasting_error_shows_item_and_traceback_after_retries(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="number 2 failed 3 times") as caught:
        _run(tmp_path, {2: "raise"}, actors=1)
    assert "KeyError: 'always'" in str(caught.value)
    assert "in square" in str(caught.value)
    assert len(list(tmp_path.glob("try-*"))) == 3


def test_an_item_that_kills_every_actor_is_given_up(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="number 1 failed 2 times"):
        _run(tmp_path, {1: "die"}, retries=1, restarts=5)


def test_replacements_are_limited(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="more often than they are replaced"):
        _run(tmp_path, {0: "die"}, actors=1, retries=100, restarts=1)


def test_who_goes_with_its_node_is_not_at_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_went_with_its_node", lambda *_: True)
    said: list[str] = []
    assert _run(tmp_path, {0: "die once", 3: "die once"}, actors=1, said=said, restarts=0, retries=0) == SQUARES
    assert said == ["A worker went with its node; its work goes to others."] * 2


def test_nodes_that_keep_going_are_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_went_with_its_node", lambda *_: True)
    with pytest.raises(WorkerError, match="number 0 failed:"):
        _run(tmp_path, {0: "die"}, actors=1, restarts=0, retries=0, lost_nodes=2)


def test_a_node_that_is_gone_is_known(tmp_path: Path) -> None:
    error = ray.exceptions.ActorDiedError()
    (node,) = {node["NodeID"] for node in ray.nodes()}
    for at, gone in ((node, False), ("ff" * 28, True), (None, False)):
        worker = workers._Worker(handle=None, ready=None, node=at)
        assert workers._went_with_its_node(worker, error) is gone


def test_our_own_errors_come_back_as_themselves_without_retry(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        _run(tmp_path, {4: "input"}, actors=1)
    assert type(caught.value) is InputError
    assert (caught.value.problem, caught.value.remedy) == ("Labels run to 12.", "Re-number them.")
    assert len(list(tmp_path.glob("try-*"))) == 1


def test_a_failing_load_shows_its_traceback(tmp_path: Path) -> None:
    def load() -> None:
        raise RuntimeError("weights.bin is not there")

    with pytest.raises(WorkerError, match="could not load the task") as caught:
        _run(tmp_path, {}, actors=1, load=load)
    assert "RuntimeError: weights.bin is not there" in str(caught.value)


def test_a_hanging_load_ends(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="building the network"):
        _run(tmp_path, {}, actors=1, load=lambda: time.sleep(600), load_seconds=1.0)


def test_dying_while_loading_ends(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="All workers died"):
        _run(tmp_path, {}, load=lambda: os._exit(1), actors=1, restarts=1)


def test_an_actor_that_is_never_placed_is_an_error_with_the_resources(tmp_path: Path) -> None:
    cls = ray.remote(Squarer)
    item = Item(label="x", start=lambda actor: [actor.square.remote(1)])
    spawn = partial(cls.options(num_gpus=1).remote, str(tmp_path))
    with (
        pytest.raises(ResourceError, match=r"Asked for CPU: 1, GPU: 1, which did not come within 1 s: the cluster has"),
        Workers(spawn, asked=WorkerResources(gpus=1.0), limits=Limits(placement_seconds=1.0)) as workers,
    ):
        workers.run([item], num_actors=1, on_done=lambda *_: None)


class _SlowToStart:
    def __init__(self, file: str) -> None:
        while not Path(file).exists():
            time.sleep(0.05)

    def place(self) -> None: ...

    def load(self) -> None: ...

    def answer(self) -> int:
        return 7


def test_who_is_slow_to_start_though_there_is_room_is_waited_for(tmp_path: Path, clock: Clock) -> None:
    item, done = Item(label="x", start=lambda actor: [actor.answer.remote()]), {}
    spawn = partial(ray.remote(_SlowToStart).options(num_cpus=1).remote, str(tmp_path / "go"))

    def go_on() -> None:
        if not clock.ahead and _free_cpus() >= 1.0:
            clock.ahead = 2 * PLACEMENT_SECONDS
        elif clock.ahead:
            (tmp_path / "go").touch()

    with Workers(spawn) as pool:
        pool.run(
            [item], num_actors=1, on_done=lambda number, receipt, _: done.update({number: receipt}), on_quiet=go_on
        )
    assert done == {0: 7}
    assert clock.ahead == 2 * PLACEMENT_SECONDS


def test_work_goes_on_with_those_that_were_placed(tmp_path: Path) -> None:
    cls = ray.remote(Squarer)
    cpus = iter([1, 100])
    done: list[int] = []
    items = [Item(label="x", start=lambda actor: [actor.pid.remote()]) for _ in range(4)]
    with Workers(lambda: cls.options(num_cpus=next(cpus)).remote(str(tmp_path))) as workers:
        workers.run(items, num_actors=2, on_done=lambda number, *_: done.append(number))
    assert sorted(done) == [0, 1, 2, 3]


def test_fewer_workers_than_the_least_are_an_error(tmp_path: Path) -> None:
    cls = ray.remote(Squarer)
    cpus = iter([1, 100])
    items = [Item(label="x", start=lambda actor: [actor.square.remote(1, "hang")]) for _ in range(4)]
    limits = Limits(placement_seconds=1.0, min_workers=2)

    def spawn() -> Any:
        return cls.options(num_cpus=next(cpus)).remote(str(tmp_path))

    with (
        pytest.raises(ResourceError, match=r"Asked for 2 workers with CPU: 100 each, which did not come within 1 s"),
        Workers(spawn, asked=WorkerResources(cpus=100), limits=limits) as workers,
    ):
        workers.run(items, num_actors=2, on_done=lambda *_: None)


def test_limits_as_the_user_gives_them() -> None:
    assert Limits.of(ClusterSettings()) == Limits()
    assert patient(Limits()) == Limits(placement_seconds=900.0)
    assert patient(Limits(placement_seconds=1000.0)) == Limits(placement_seconds=1000.0)
    settings = ClusterSettings(num_workers=4, min_workers=2, wait_seconds=600.0)
    assert Limits.of(settings) == Limits(min_workers=2, placement_seconds=600.0)


def test_actors_stay_for_further_items(tmp_path: Path) -> None:
    cls = ray.remote(Squarer)
    spawned: list[int] = []
    pids: list[int] = []

    def spawn() -> Any:
        spawned.append(1)
        return cls.options(num_cpus=1).remote(str(tmp_path))

    def items(count: int) -> list[Item]:
        return [Item(label="x", start=lambda actor: [actor.pid.remote()]) for _ in range(count)]

    with Workers(spawn) as workers:
        workers.run(items(1), num_actors=2, on_done=lambda _, pid, __: pids.append(pid))
        workers.run(items(8), num_actors=2, on_done=lambda _, pid, __: pids.append(pid))
    assert len(pids) == 9
    assert pids[0] in pids[1:]
    assert len(spawned) == 2


def test_quiet_seconds_are_told(tmp_path: Path) -> None:
    cls = ray.remote(Squarer)
    quiet: list[int] = []
    done: list[int] = []
    item = Item(label="x", start=lambda actor: [actor.wait_for.remote(str(tmp_path / "go"))])

    def on_quiet() -> None:
        quiet.append(1)
        (tmp_path / "go").touch()

    with Workers(partial(cls.options(num_cpus=1).remote, str(tmp_path))) as workers:
        workers.run([item], num_actors=1, on_done=lambda number, *_: done.append(number), on_quiet=on_quiet)
    assert quiet
    assert done == [0]


def _free_cpus() -> float:
    return float(ray.available_resources().get("CPU", 0.0))


def test_actors_are_gone_afterwards(tmp_path: Path) -> None:
    processes: dict[int, psutil.Process] = {}

    def note(_: int, pid: int, __: Any) -> None:
        processes.setdefault(pid, psutil.Process(pid))

    spawn = partial(ray.remote(Squarer).options(num_cpus=1).remote, str(tmp_path))
    items = [Item(label="x", start=lambda actor: [actor.pid.remote()]) for _ in range(6)]
    with Workers(spawn) as pool:
        pool.run(items, num_actors=2, on_done=note)
        assert processes
        assert all(process.is_running() for process in processes.values())
    # However long it takes a busy machine.
    _, left = psutil.wait_procs(processes.values(), timeout=240.0)
    assert not left
