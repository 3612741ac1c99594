from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import ray

from raytt.cluster.plumbing import session as distributed_session
from raytt.cluster.plumbing.session import Session, WorkerResources, connect
from raytt.errors import InputError, ResourceError
from raytt.settings.cluster import ClusterSettings


@pytest.mark.parametrize(
    ("given", "use_gpu", "expected"),
    [
        (None, False, {"CPU": 1}),
        (None, True, {"CPU": 1, "GPU": 1}),
        ({"CPU": 3}, True, {"CPU": 3, "GPU": 1}),
        ({"GPU": 0.5}, True, {"CPU": 1, "GPU": 0.5}),
        ({"CPU": 2, "tpu": 1}, False, {"CPU": 2, "tpu": 1}),
    ],
)
def test_resources_of_a_worker(given: dict[str, float] | None, use_gpu: bool, expected: dict[str, float]) -> None:
    parsed = WorkerResources.of(ClusterSettings(resources_per_worker=given, use_gpu=use_gpu))
    assert parsed.totals() == expected
    assert parsed.device == ("cuda" if use_gpu else "cpu")


@pytest.fixture
def session(ray_session: None) -> Session:
    return Session(started_here=False, is_client=False)


def test_what_the_cluster_holds(session: Session) -> None:
    assert session.workers_that_fit(WorkerResources()) == 4
    assert session.workers_that_fit(WorkerResources(cpus=3)) == 1
    assert session.workers_that_fit(WorkerResources(gpus=1)) == 0
    session.check(WorkerResources(cpus=2), 2)


@pytest.mark.parametrize(
    ("worker", "num_workers", "message"),
    [
        (WorkerResources(gpus=1), 1, "Asked for 1 worker with CPU: 1, GPU: 1 each, but the cluster holds 0"),
        (WorkerResources(cpus=5), 1, "Asked for 1 worker with CPU: 5 each, but the cluster holds 0"),
        (WorkerResources(), 5, "Asked for 5 workers with CPU: 1 each, but the cluster holds 4: node 1 has CPU: 4"),
        (WorkerResources(custom={"tpu": 1}), 1, "tpu: 1"),
    ],
)
def test_more_than_the_cluster_has_is_an_error(
    session: Session, worker: WorkerResources, num_workers: int, message: str
) -> None:
    with pytest.raises(ResourceError, match=message):
        session.check(worker, num_workers)


def test_a_running_ray_is_used_and_left_running(ray_session: None) -> None:
    with connect() as session:
        assert not session.started_here
        assert not session.is_client
        assert session.whole_machine() == WorkerResources()
    assert ray.is_initialized()


def test_what_reads_files_is_placed_on_the_drivers_node(session: Session) -> None:
    assert session.near_driver()["scheduling_strategy"].node_id == ray.nodes()[0]["NodeID"]
    assert Session(started_here=False, is_client=True).near_driver() == {}


_OWN_RAY = """
import os, ray
from raytt.cluster.plumbing.session import WorkerResources, connect
os.environ.pop("RAY_ADDRESS", None)
with connect(num_cpus=2) as session:
    assert session.started_here and ray.is_initialized()
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    # A batch system's long TMPDIR leaves no room for the names of Unix sockets.
    assert ray._private.worker._global_node.get_temp_dir_path() == "/tmp/ray"
    assert session.whole_machine() == WorkerResources(cpus=2), session.whole_machine()
    # As a training loop of the user's own would run.
    assert ray.get(ray.remote(lambda: os.nice(0)).remote()) == os.nice(0)
assert not ray.is_initialized()
"""


def test_a_ray_started_here_is_stopped_again(tmp_path: Path) -> None:
    long = tmp_path / "scratch_of_a_batch_system" / "jobs_of_somebody" / "job_directory_1355700"
    long.mkdir(parents=True)
    environment = {**os.environ, "TMPDIR": str(long)}
    environment.pop("RAY_TMPDIR", None)
    subprocess.run([sys.executable, "-c", _OWN_RAY], check=True, env=environment)


@pytest.mark.parametrize(("failures", "connects"), [(1, True), (2, True), (3, False)])
def test_a_client_server_that_dies_while_starting_is_asked_again(
    failures: int, connects: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def init(**options: Any) -> None:
        asked.append(options["address"])
        if len(asked) <= failures:
            raise ConnectionAbortedError("Initialization failure from server: ZombieProcess")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr(distributed_session, "_check_reachable", lambda *_: None)
    monkeypatch.setattr(distributed_session, "_CLIENT_PAUSE_SECONDS", 0.0)
    expected = nullcontext() if connects else pytest.raises(ResourceError, match="Initialization failure")
    with expected, connect("ray://head:10001"):
        pass
    assert asked == ["ray://head:10001"] * min(failures + 1, 3)


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_nobody_at_the_address_is_an_error_in_seconds(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = server.getsockname()[1]
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(ResourceError, match="no Ray cluster to connect to"), connect(f"{scheme}127.0.0.1:{free}"):
        pass
    monkeypatch.setenv("RAY_ADDRESS", f"{scheme}127.0.0.1:{free}")
    with pytest.raises(ResourceError, match=rf"{free}' \(from RAY_ADDRESS\)"), connect():
        pass


def test_the_address_of_a_job_server_is_told_from_a_clusters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:8265")
    told = r"'http://127.0.0.1:8265' \(from RAY_ADDRESS\) is the address of a job server"
    with pytest.raises(InputError, match=told), connect():
        pass
    with (
        pytest.raises(InputError, match=r"'https://head:8265' is the address of a job server") as caught,
        connect("https://head:8265"),
    ):
        pass
    assert "unset" not in caught.value.remedy
    assert "raytt submit" in caught.value.remedy
    started = []
    monkeypatch.setattr(ray, "init", lambda **options: started.append(options["address"]))
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    with connect("local") as session:
        assert session.started_here
    assert started == ["local"]


def test_a_ray_that_finds_no_place_for_its_files_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**_: Any) -> None:
        raise OSError("AF_UNIX path length cannot exceed 107 bytes: /scratch")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    message = r"cannot exceed 107 bytes: /scratch\. Set RAY_TMPDIR to the short path"
    with pytest.raises(ResourceError, match=message) as told, connect():
        pass
    assert "\n" not in str(told.value)
