"""What may happen to a run on a cluster changes nothing in its ranking, bit for bit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from raytt.cluster.plumbing.session import Session
from raytt.workflows import step_costs
from tests.cluster import cluster_run, fault_run

ROOT = Path(__file__).parents[2]
PHASES = ("start", "probe", "reduce", "time", "reference", "tangents", "solve", "rank")


@pytest.fixture(scope="module")
def alone(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """The undisturbed ranking, on one node."""
    with pytest.MonkeyPatch.context() as patch:
        # Put back afterwards what the script replaces.
        patch.setattr(step_costs, "measure_step_times", step_costs.measure_step_times)
        return cluster_run.ranking(tmp_path_factory.mktemp("alone")).to_json()["candidates"]  # type: ignore[no-any-return]


def script(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", fault_run.__name__, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("mode", ["actor", "drain", "join"])
def test_workers_and_nodes_come_and_go(alone: list[Any], tmp_path: Path, mode: str) -> None:
    done = script("cluster", mode, str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == alone


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """A storage path on an S3 server on loopback; workers of clusters started later may use it."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")):
            patch.setenv(name, value)
        client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1")
        client.create_bucket(Bucket="runs")
        client.close()
        yield f"s3://runs/faults?scheme=http&endpoint_override={host}:{port}&region=us-east-1"
    server.stop()


@pytest.fixture(scope="module")
def cluster(bucket: str) -> Iterator[str]:
    """The address of a cluster of three nodes."""
    command = [sys.executable, "-m", fault_run.__name__, "serve"]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield process.stdout.readline().strip()
    process.communicate(timeout=120)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_driver_killed_in_every_phase(alone: list[Any], bucket: str, cluster: str, tmp_path: Path) -> None:
    storage = bucket
    log = tmp_path / "recorded"
    for phase in PHASES:
        killed = script("drive", cluster, storage, str(log), phase)
        assert killed.returncode == -signal.SIGKILL, (phase, killed.stdout, killed.stderr)
    done = script("drive", cluster, storage, str(log), "none")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == alone
    # What was stored once was never computed again, by whichever process.
    recorded = Counter(log.read_text().split())
    assert set(recorded.values()) == {1}, recorded
    assert sum(file.startswith("probe/train-") for file in recorded) == 4
    assert {"tangent/train.arrow", "reference/sgd.json", "reference.json", "ranking.json"} <= set(recorded)
    assert sum(file.startswith("probe/sgd-1/train-") for file in recorded) == 4
    assert any(file.startswith("curves/") for file in recorded)


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([("", 4), ("spot", 4)], {"label_selector": {"ray.io/market-type": "!spot"}}),
        ([("on-demand", 1), ("spot", 4)], {"label_selector": {"ray.io/market-type": "!spot"}}),
        # A head that lends no CPU cannot reduce.
        ([("on-demand", 0), ("spot", 4)], {}),
        ([("", 4), ("on-demand", 4)], {}),
        ([("spot", 4)], {}),
    ],
)
def test_the_reduction_keeps_off_spot_nodes_where_there_are_others(
    monkeypatch: pytest.MonkeyPatch, nodes: list[tuple[str, int]], expected: dict[str, Any]
) -> None:
    listed = [
        {"Alive": True, "Resources": {"CPU": float(cpus)}, "Labels": {"ray.io/market-type": market} if market else {}}
        for market, cpus in nodes
    ]
    dead = {"Alive": False, "Resources": {"CPU": 9.0}, "Labels": {}}
    monkeypatch.setattr("ray.nodes", lambda: [*listed, dead])
    assert Session(started_here=False, is_client=False).off_spot() == expected


TASK = """
import time
from pathlib import Path
from tests.cluster.cluster_run import data, model
from raytt import Task

def forward(net, inputs):
    # Once a shard is written, which a second is enough for, work stands still until it is told to go on.
    if Path("{folder}/wait").exists():
        time.sleep(1.0)
    while Path("{folder}/wait").exists() and list(Path("{folder}").glob("runs/r/probe/*.arrow")):
        time.sleep(0.1)
    return net(inputs)

task = Task(mode="eval", name="tiny", model=model, data=data, forward=forward)
search_space = [{{"lr": 0.1, "batch_size": 8}}]
target = 0.6
"""


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_interrupting_tells_how_to_go_on_and_meanwhile_the_run_is_taken(tmp_path: Path) -> None:
    (tmp_path / "task.py").write_text(TASK.format(folder=tmp_path))
    (tmp_path / "wait").touch()
    here = str(ROOT)
    paths = os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": paths}
    command = [sys.executable, "-m", "raytt", "rank", "task.py", "--proj-dim", "64", "--num-workers", "1"]
    options: dict[str, Any] = {"cwd": tmp_path, "env": environment, "text": True}
    first = subprocess.Popen([*command, "--name", "r"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
    while not list(tmp_path.glob("runs/r/probe/*.arrow")):
        assert first.poll() is None, first.communicate()
    second = subprocess.run([*command, "--name", "r"], capture_output=True, timeout=300, **options)
    assert second.returncode == 2
    assert f"in use by process {first.pid}" in " ".join(second.stderr.split())
    first.send_signal(signal.SIGINT)
    _, shown = first.communicate(timeout=120)
    assert first.returncode == 130, shown
    assert "  raytt rank task.py --proj-dim 64 --num-workers 1 --name r\n" in shown
    assert "Traceback" not in shown
    assert list(tmp_path.glob("runs/r/locks/*")) == []
    kept = set(tmp_path.glob("runs/r/probe/*.arrow"))
    assert 0 < len(kept) < 4
    before = {path: path.stat().st_mtime_ns for path in kept}
    (tmp_path / "wait").unlink()
    again = subprocess.run([*command, "--name", "r"], capture_output=True, timeout=600, **options)
    assert again.returncode == 0, again.stderr
    assert {path: path.stat().st_mtime_ns for path in kept} == before
    # A log without a terminal is plain lines.
    assert "\x1b" not in again.stderr
    assert "  probe  done after" in again.stderr
