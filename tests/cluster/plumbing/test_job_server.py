"""Submission to a real job server on loopback."""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import raytt as package
from raytt.results.ranking import Ranking

pytestmark = [pytest.mark.soak, pytest.mark.timeout(900)]

TOKEN = "a-secret-that-must-not-be-kept"
AUTH = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
TASK = """
import os
import torch
import helper  # beside this file
from raytt import Task

assert os.environ["TOKEN"], "the environment did not arrive"

def model():
    # On a worker.
    assert os.environ["TOKEN"]
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))

def data():
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(0, 3, (helper.SAMPLES,), generator=generator)
    return torch.randn(helper.SAMPLES, 6, generator=generator), labels

task = Task(mode="eval", name="tiny", model=model, data=data)
search_space = [{"lr": lr, "batch_size": 8} for lr in (0.01, 0.1)]
target = 0.6
"""


def _environment() -> dict[str, str]:
    """Where ``python`` is this Python, and raytt this one."""
    root = Path(package.__file__).parent.parent
    paths = [str(root), *filter(None, [os.environ.get("PYTHONPATH")])]
    kept = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**kept, "PATH": path, "PYTHONPATH": os.pathsep.join(paths), "RAY_USAGE_STATS_ENABLED": "0"}


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [s.getsockname()[1] for s in sockets]


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, Path]]:
    """The address of a job server, and where Ray keeps its own files.

    The port of the dashboard's agent, which takes the jobs, is the same for all clusters of a machine unless it is
    given: beside another Ray a job server would have no agent. `ray.init` cannot be told.
    """
    head, port, agent = _free_ports(3)
    # Sockets lie below it, and their paths must be short.
    with tempfile.TemporaryDirectory(prefix="rj") as folder:
        arguments = [
            *("start", "--head", "--block", "--include-dashboard=true", "--dashboard-host=127.0.0.1"),
            *("--node-ip-address=127.0.0.1", "--num-cpus=3", f"--object-store-memory={200 << 20}"),
            *(f"--port={head}", f"--dashboard-port={port}", f"--dashboard-agent-listen-port={agent}"),
            f"--temp-dir={folder}",
        ]
        process = subprocess.Popen(
            [Path(sys.executable).parent / "ray", *arguments],
            env={**_environment(), **AUTH},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            _await(port, process)
            yield f"http://127.0.0.1:{port}", Path(folder) / "session_latest"
        finally:
            process.terminate()
            process.wait(timeout=120)


def _await(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=10).close()
        except OSError:
            time.sleep(0.5)
        else:
            return
    pytest.fail("the job server did not start")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A task with a module beside it."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "my_task.py").write_text(TASK)
    (tmp_path / "mine" / "helper.py").write_text("SAMPLES = 40\n")
    return tmp_path


def raytt(folder: Path, *arguments: str, auth: dict[str, str] = AUTH) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "raytt", *arguments],
        cwd=folder,
        env={**_environment(), "TOKEN": TOKEN, **auth},
        capture_output=True,
        text=True,
        timeout=600,
    )


def test_a_submitted_task_is_ranked_there_and_the_ranking_comes_here(server: Any, folder: Path) -> None:
    address, session = server
    options = ["--storage-path", str(folder / "runs"), "--name", "far", "--proj-dim", "64", "--num-paths", "2"]
    wanted = ["--address", address, "--follow", "--env", "TOKEN", "--json", "r.json", *options]
    done = raytt(folder, "submit", "mine/my_task.py", *wanted)
    assert done.returncode == 0, done.stderr
    ranking = Ranking.load(folder / "r.json")
    assert done.stdout == f"{ranking}\n"
    assert len(ranking.entries) == 2
    # Progress came over as plain lines.
    for phase in ("start", "probe", "reduce", "time", "solve", "rank"):
        assert re.search(rf"^ *{phase}  done after", done.stderr, re.MULTILINE), done.stderr
    assert json.loads((folder / "runs" / "far" / "ranking.json").read_text()) == ranking.to_json()

    # Its name brings it again.
    job = re.findall(r"Submitted (raytt-far-\w+)\.", done.stderr)[0]
    again = raytt(folder, "fetch", job, "--address", address)
    assert again.returncode == 0, again.stderr
    assert Ranking.load(folder / f"{job}.json") == ranking

    kept = [path for path in (folder / "runs").rglob("*") if path.is_file()]
    logs = [path for path in (session / "logs").rglob("*") if path.is_file() and job in path.name]
    assert kept
    assert logs
    for path in (*kept, *(path for path in (session / "logs").rglob("*") if path.is_file())):
        assert not any(secret.encode() in path.read_bytes() for secret in (TOKEN, AUTH["RAY_AUTH_TOKEN"])), path
    assert TOKEN not in done.stderr + done.stdout


def test_a_job_that_fails_says_why(server: Any, folder: Path) -> None:
    address, _ = server
    done = raytt(folder, "submit", "mine/my_task.py", "--address", address, "--follow")
    assert done.returncode == 2
    assert "the environment did not arrive" in done.stderr
    assert "failed." in done.stderr
    assert "Traceback" not in done.stderr.partition("The end of its log")[0].rpartition("Error: Job")[2]


def test_a_missing_token_is_said(server: Any, folder: Path) -> None:
    done = raytt(folder, "submit", "mine/my_task.py", "--address", server[0], auth={"RAY_AUTH_MODE": "disabled"})
    assert done.returncode == 2
    assert "wants a token. Set RAY_AUTH_MODE=token" in " ".join(done.stderr.split())


def test_nobody_listens(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    done = raytt(folder, "submit", "mine/my_task.py", "--address", f"http://127.0.0.1:{port}")
    assert done.returncode == 2
    assert f"There is no Ray job server at http://127.0.0.1:{port}" in " ".join(done.stderr.split())
