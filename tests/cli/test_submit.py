from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.job_submission import JobStatus

from raytt.cli import main as cli
from raytt.cli.submit import plan
from raytt.cluster.plumbing import jobs
from raytt.cluster.plumbing.hand_over import to_line
from raytt.cluster.plumbing.jobs import Job, JobServer
from raytt.errors import InputError, ResourceError, StoreError, WorkerError
from raytt.settings.cluster import ClusterSettings
from raytt.settings.estimator import EstimatorSettings
from raytt.settings.ranking import RankingSettings
from raytt.settings.run import RunSettings
from tests.support.fakes import example_ranking

OUTSIDE = RunSettings(storage_path="~/runs")
"""A run kept outside the job's own directory."""
ADDRESS = "http://127.0.0.1:8265"
RESULT = to_line(json.dumps(example_ranking().to_json()).encode())


class FakeClient:
    """A job server that plays a log back, a piece at each look."""

    def __init__(self, log: str = f"one\ntwo\n\n{RESULT}\n", *, end: JobStatus = JobStatus.SUCCEEDED, steps: int = 1):
        self.log, self.end, self.steps = log, end, steps
        self.looks = 0
        self.submitted: list[dict[str, Any]] = []
        self.environments: list[str] = []
        self.error: Exception | None = None

    def submit_job(self, **job: Any) -> None:
        if self.error:
            raise self.error
        self.submitted.append(job)
        for module in job["runtime_env"].get("py_modules", []):
            code = [sys.executable, "-c", "import os; print(os.environ['A'])"]
            paths = {**os.environ, "PYTHONPATH": str(Path(module).parent)}
            done = subprocess.run(code, env=paths, capture_output=True, text=True, check=True)
            self.environments.append(done.stdout.strip())

    def get_job_status(self, job_id: str) -> JobStatus:
        if self.error:
            raise self.error
        self.looks += 1
        return self.end if self.looks >= self.steps else JobStatus.RUNNING

    def get_job_logs(self, job_id: str) -> str:
        return self.log[: len(self.log) * min(self.looks, self.steps) // self.steps]

    def get_job_info(self, job_id: str) -> Any:
        return SimpleNamespace(message="Job entrypoint command failed with exit code 2")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a task."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(jobs, "POLL_SECONDS", 0.0)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "my task.py").write_text("raise SystemExit('a task is not imported when it is submitted')")
    return tmp_path


def words(job: Job) -> list[str]:
    rank, hand_over = job.entrypoint.split(" && ")
    assert hand_over == "python -m raytt.cluster.plumbing.hand_over raytt-ranking.json"
    return shlex.split(rank)


def test_a_plan_runs_rank_in_the_tasks_directory(here: Path) -> None:
    job = plan(
        "mine/my task.py::other",
        run=RunSettings(name="n", storage_path="s3://b/x"),
        others=(RankingSettings(num_candidates=7), ClusterSettings(use_gpu=True), EstimatorSettings(screen=False)),
        target="0.2",
    )
    assert job.working_dir == str(here / "mine")
    assert words(job) == shlex.split(
        "python -m raytt rank 'my task.py::other' --target 0.2 --candidates 7 --use-gpu --no-screen "
        "--storage-path s3://b/x --name n --json raytt-ranking.json"
    )
    assert job.job_id.startswith("raytt-n-")
    assert job.metadata["run"] == "n"
    assert job.env_vars == {}


def test_a_plan_names_the_run() -> None:
    given = words(plan("mine/my task.py", run=OUTSIDE))
    assert given[given.index("--name") + 1].startswith("my-task-20")


def test_a_larger_working_directory(here: Path) -> None:
    job = plan("mine/my task.py", run=OUTSIDE, working_dir=here)
    assert (job.working_dir, words(job)[4]) == (str(here), "mine/my task.py")


def test_a_module_comes_from_here_or_from_the_cluster(here: Path) -> None:
    assert plan("raytt.examples.digits", run=OUTSIDE).working_dir is None
    assert plan("raytt.examples.digits", run=OUTSIDE, working_dir=here).working_dir == str(here)
    (here / "own.py").write_text("")
    assert plan("own", run=OUTSIDE).working_dir == str(here)


@pytest.mark.parametrize(
    ("task", "settings", "message"),
    [
        ("nothing.py", {}, "There is no file nothing.py"),
        ("mine/my task.py", {"run": RunSettings(storage_path="runs")}, "temporary directory"),
        ("mine/my task.py", {"target": "soon"}, "Cannot read target 'soon'"),
        ("mine/my task.py", {"working_dir": Path("/usr")}, "does not lie within"),
        ("mine/my task.py", {"env": ["RAYTT_NO_SUCH"]}, "no such variable"),
        ("mine/my task.py", {"env": ["=hidden"]}, "something else than KEY"),
    ],
)
def test_plans_that_cannot_work_are_refused_here(task: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        plan(task, **({"run": OUTSIDE} | settings))
    assert "hidden" not in str(caught.value)


def test_environment_is_given_or_taken_from_here_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cr3t=value")
    job = plan("mine/my task.py", run=OUTSIDE, env=["AWS_SECRET_ACCESS_KEY", "A=b=c", "EMPTY="])
    assert job.env_vars == {"AWS_SECRET_ACCESS_KEY": "s3cr3t=value", "A": "b=c", "EMPTY": ""}
    assert "s3cr3t" not in repr(job)
    assert "s3cr3t" not in job.entrypoint
    assert "s3cr3t" not in str(job.metadata)


def test_what_the_server_gets(here: Path) -> None:
    client = FakeClient()
    job = plan("mine/my task.py", run=OUTSIDE, env=["A=1"], num_cpus=2.0, memory=1 << 30)
    JobServer(ADDRESS, client=client).submit(job)
    (sent,) = client.submitted
    assert sent["submission_id"] == job.job_id
    assert sent["runtime_env"]["working_dir"] == str(here / "mine")
    assert {".git", ".env", "*.key"} <= set(sent["runtime_env"]["excludes"])
    assert sent["runtime_env"]["env_vars"] == {"RAY_USAGE_STATS_ENABLED": "0"}
    # The job's environment is a module that Python imports when it starts.
    assert client.environments == ["1"]
    assert not Path(sent["runtime_env"]["py_modules"][0]).exists()
    assert (sent["entrypoint_num_cpus"], sent["entrypoint_num_gpus"]) == (2.0, None)
    assert sent["entrypoint_memory"] == 1 << 30


@pytest.mark.parametrize("steps", [1, 3, 50])
def test_following_shows_every_line_once_and_gives_the_ranking(steps: int) -> None:
    shown: list[str] = []
    ranking = JobServer(ADDRESS, client=FakeClient(steps=steps)).follow("j", shown.append)
    assert shown == ["one", "two"]
    assert ranking == example_ranking()


def test_fetching() -> None:
    assert JobServer(ADDRESS, client=FakeClient()).fetch("j") == example_ranking()
    with pytest.raises(ResourceError, match="Job j has not ended: it is running"):
        JobServer(ADDRESS, client=FakeClient(steps=2)).fetch("j")
    with pytest.raises(StoreError, match="left no ranking"):
        JobServer(ADDRESS, client=FakeClient("nothing\n")).fetch("j")
    with pytest.raises(StoreError, match="is damaged"):
        JobServer(ADDRESS, client=FakeClient(RESULT[:-8])).fetch("j")
    with pytest.raises(StoreError, match="something else than a ranking"):
        JobServer(ADDRESS, client=FakeClient(to_line(b'{"task": 3}'))).fetch("j")


@pytest.mark.parametrize("end", [JobStatus.FAILED, JobStatus.STOPPED])
def test_a_job_that_failed_shows_the_end_of_its_log(end: JobStatus) -> None:
    client = FakeClient("\n".join(f"line {i}" for i in range(100)) + "\nError: it broke\n", end=end)
    with pytest.raises(WorkerError, match=f"Job j {end.value.lower()}.*exit code 2") as caught:
        JobServer(ADDRESS, client=client).fetch("j")
    assert str(caught.value).endswith("Error: it broke")
    assert "line 50" not in str(caught.value)


def test_secrets_are_in_nothing_that_is_shown_or_raised() -> None:
    secrets = {"TOKEN": "hunter2", "TOKEN_AND_MORE": "hunter2-and-more", "SHORT": "1"}
    shown: list[str] = []
    client = FakeClient(f"my token is hunter2, 1\nhunter2-and-more\n{RESULT}")
    JobServer(ADDRESS, secrets=secrets, client=client).follow("j", shown.append)
    assert shown == ["my token is ***, 1", "***"]
    failed = FakeClient("token hunter2\n", end=JobStatus.FAILED)
    with pytest.raises(WorkerError) as caught:
        JobServer(ADDRESS, secrets=secrets, client=failed).fetch("j")
    client.error = RuntimeError("runtime_env {'env_vars': {'TOKEN': 'hunter2'}} is bad")
    server = JobServer(ADDRESS, secrets=secrets, client=client)
    for action in (lambda: server.submit(Job(job_id="j", entrypoint="", working_dir=None)), lambda: server.fetch("j")):
        with pytest.raises(ResourceError, match=r"\*\*\*") as refused:
            action()
        assert "hunter2" not in f"{caught.value} {refused.value}"
        assert refused.value.__cause__ is None


@pytest.mark.parametrize("address", ["auto", "head:8265", "ray://head:10001", "http://", "file:///etc"])
def test_an_address_that_is_none(address: str) -> None:
    with pytest.raises(InputError, match="not the address of a job server"):
        JobServer(address, client=FakeClient())


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit code of ``raytt`` with these arguments."""
    monkeypatch.setattr(sys, "argv", ["raytt", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> FakeClient:
    """What every address leads to; none is exported."""
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    fake = FakeClient()
    monkeypatch.setattr(jobs, "JobSubmissionClient", lambda address: fake)
    return fake


def test_submitting_says_how_to_fetch(monkeypatch: Any, client: FakeClient, capsys: Any) -> None:
    assert run(monkeypatch, "submit", "mine/my task.py", "--address", ADDRESS, "--seed", "3", "--name", "n") == 0
    shown = capsys.readouterr()
    (sent,) = client.submitted
    assert "--seed 3" in sent["entrypoint"]
    assert "--storage-path '~/raytt-runs'" in sent["entrypoint"]
    assert f"  raytt fetch {sent['submission_id']} --address {ADDRESS} --follow\n" in shown.err
    assert shown.out == ""
    assert list(Path().glob("*.json")) == []


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"RAY_ADDRESS": ADDRESS}, ADDRESS),
        ({"RAY_ADDRESS": "http://other:8265", "RAY_API_SERVER_ADDRESS": ADDRESS}, ADDRESS),
    ],
)
def test_the_address_that_is_exported_is_used(
    monkeypatch: Any, client: FakeClient, capsys: Any, environment: dict[str, str], expected: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert run(monkeypatch, "submit", "mine/my task.py", "--name", "n") == 0
    assert f"--address {expected} --follow\n" in capsys.readouterr().err
    assert run(monkeypatch, "submit", "mine/my task.py", "--address", "http://given:1") == 0
    assert "--address http://given:1 --follow\n" in capsys.readouterr().err


def test_a_clusters_address_that_is_exported_is_none_of_a_job_server(
    monkeypatch: Any, client: FakeClient, capsys: Any
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    assert run(monkeypatch, "submit", "mine/my task.py") == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "'ray://head:10001' is not the address of a job server" in told
    assert "RAY_ADDRESS" in told


def test_following_ends_with_the_table_and_the_file(monkeypatch: Any, client: FakeClient, capsys: Any) -> None:
    arguments = ["mine/my task.py", "--address", ADDRESS, "--follow", "--json", "out.json"]
    assert run(monkeypatch, "submit", *arguments) == 0
    shown = capsys.readouterr()
    assert shown.out == f"{example_ranking()}\n"
    assert "\none\ntwo\n" in shown.err
    assert json.loads(Path("out.json").read_text()) == example_ranking().to_json()


def test_fetching_writes_beside_it(monkeypatch: Any, client: FakeClient) -> None:
    assert run(monkeypatch, "fetch", "../raytt-x", "--address", ADDRESS) == 0
    assert [path.name for path in Path().glob("*.json")] == ["..-raytt-x.json"]


def test_interrupting_leaves_the_job_alone(monkeypatch: Any, client: FakeClient, capsys: Any) -> None:
    def interrupted(job_id: str) -> str:
        raise KeyboardInterrupt

    client.get_job_logs = interrupted  # type: ignore[method-assign]
    assert run(monkeypatch, "fetch", "j", "--address", ADDRESS, "--follow") == 130
    shown = capsys.readouterr().err
    assert f"  raytt fetch j --address {ADDRESS} --follow\n" in shown
    assert f"  ray job stop --address {ADDRESS} j\n" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mine/my task.py"], "Missing option '--address'"),
        (["mine/my task.py", "--address", ADDRESS, "--candidats", "3"], "No such option"),
        (["mine/my task.py", "extra", "--address", ADDRESS], "unexpected extra argument"),
        (["mine/my task.py", "--address", ADDRESS, "--candidates", "0"], "num_candidates is 0"),
        (["mine/my task.py", "--address", ADDRESS, "--storage-path", "runs"], "temporary directory"),
        (["mine/my task.py", "--address", ADDRESS, "--price", "aws:none"], "aws:none"),
        (["mine/my task.py", "--address", "head"], "not the address of a job server"),
        (["nothing.py", "--address", ADDRESS], "There is no file"),
    ],
)
def test_mistakes_end_with_two(
    monkeypatch: Any, client: FakeClient, capsys: Any, arguments: list[str], message: str
) -> None:
    assert run(monkeypatch, "submit", *arguments) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert client.submitted == []
