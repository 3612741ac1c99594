from __future__ import annotations

import inspect
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import raytt
from raytt.cli import main as cli
from raytt.errors import ResourceError
from raytt.pricing.terms import Terms
from raytt.settings.cluster import ClusterSettings
from raytt.settings.declaration import settings_of
from raytt.settings.estimator import EstimatorSettings
from raytt.settings.ranking import RankingSettings
from raytt.settings.run import RunSettings
from raytt.task.target import Target
from raytt.workflows import rank as pipeline
from tests.support.fakes import example_ranking

TASK = """
from raytt.task.task import Task

task = Task(mode="eval", name="mine", model=list, data=None)
search_space = {"lr": 0.1}
"""


class FakeRank:
    """Stands for `raytt.rank`: keeps its arguments, returns a ranking or raises."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error
        self.calls: list[dict[str, Any]] = []

    def __call__(self, task: Any, search_space: Any, **settings: Any) -> Any:
        self.calls.append({"task": task, "search_space": search_space, **settings})
        if self.error is not None:
            raise self.error
        return example_ranking()


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeRank:
    rank = FakeRank()
    monkeypatch.setattr(raytt, "rank", rank, raising=False)
    return rank


@pytest.fixture
def task_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "my_task.py"
    path.write_text(TASK)
    return str(path)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit code of ``raytt`` with these arguments."""
    monkeypatch.setattr(sys, "argv", ["raytt", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    code = ended.value.code
    assert isinstance(code, int)
    return code


def test_defaults_arrive(monkeypatch: Any, fake: FakeRank, task_file: str) -> None:
    assert run(monkeypatch, "rank", task_file) == 0
    (call,) = fake.calls
    assert call.pop("task").name == "mine"
    assert call.pop("search_space") == {"lr": 0.1}
    run_settings = call.pop("run")
    assert run_settings.name.startswith("mine-2")
    assert replace(run_settings, name=None) == RunSettings()
    assert call == {
        "target": None,
        "num_candidates": 32,
        "seed": 0,
        "max_epochs": 20.0,
        "usd_per_hour": None,
        "objective": None,
        "early_stopping": None,
        "terms": Terms(),
        "estimator": EstimatorSettings(),
        "cluster": ClusterSettings(),
    }


def test_defaults_are_those_of_the_function() -> None:
    parameters = inspect.signature(pipeline.rank).parameters
    for setting in settings_of(RankingSettings):
        assert parameters[setting.name].default == setting.default, setting.name
    for name in ("estimator", "cluster", "run", "terms"):
        assert parameters[name].default is None


def test_every_option_arrives(monkeypatch: Any, fake: FakeRank, task_file: str) -> None:
    options = (
        "--candidates 200 --target accuracy=0.9 --seed 7 --proj-dim 128 --samples 64 --num-workers 3 --use-gpu "
        "--precision bfloat16 --max-outputs 16 --min-workers 2 --wait-seconds 90 --reference-steps 0 --no-screen "
        "--address auto --storage-path there --name this --usd-per-hour 1.5 --max-epochs 2.5 --num-paths 6 "
        "--method sde --price aws:g6.xlarge --price aws:g5.xlarge:spot --gpus 1 --gpus 2 --efficiency 0.9 "
        "--seconds-per-step 32=0.1 --budget-usd 40 --deadline 12h --confidence 0.8 --no-progress "
        "--resources-per-worker CPU=4,GPU=0.5,tpu=1 --objective val_loss --early-stopping 3@200"
    )
    assert run(monkeypatch, "rank", task_file, *options.split()) == 0
    (call,) = fake.calls
    del call["task"], call["search_space"]
    assert call == {
        "target": Target(kind="accuracy", value=0.9),
        "num_candidates": 200,
        "seed": 7,
        "max_epochs": 2.5,
        "usd_per_hour": 1.5,
        "objective": "val_loss",
        "early_stopping": "3@200",
        "terms": Terms.of(
            prices=["aws:g6.xlarge", "aws:g5.xlarge:spot"],
            gpus=[1, 2],
            efficiency=0.9,
            seconds_per_step="32=0.1",
            budget_usd=40,
            deadline="12h",
            confidence=0.8,
        ),
        "estimator": EstimatorSettings(
            samples=64,
            proj_dim=128,
            precision="bfloat16",
            max_outputs=16,
            method="sde",
            reference_steps=0,
            num_paths=6,
            screen=False,
        ),
        "cluster": ClusterSettings(
            address="auto",
            num_workers=3,
            min_workers=2,
            wait_seconds=90.0,
            use_gpu=True,
            resources_per_worker={"CPU": 4.0, "GPU": 0.5, "tpu": 1.0},
        ),
        "run": RunSettings(storage_path="there", name="this", progress=False),
    }


def test_target_of_the_task_unless_given(monkeypatch: Any, fake: FakeRank, task_file: str) -> None:
    Path(task_file).write_text(TASK + "target = 0.3\n")
    run(monkeypatch, "rank", task_file)
    run(monkeypatch, "rank", task_file, "--target", "0.2")
    assert [call["target"].value for call in fake.calls] == [0.3, 0.2]


def test_table_on_the_screen_and_json_in_the_file(
    monkeypatch: Any, fake: FakeRank, task_file: str, capsys: Any
) -> None:
    assert run(monkeypatch, "rank", task_file, "--json", "out.json") == 0
    assert capsys.readouterr().out == f"{example_ranking()}\n"
    assert json.loads(Path("out.json").read_text()) == example_ranking().to_json()


def test_json_that_cannot_be_written_still_shows_the_table(
    monkeypatch: Any, fake: FakeRank, task_file: str, capsys: Any
) -> None:
    Path("file").write_text("")
    assert run(monkeypatch, "rank", task_file, "--json", "file/out.json") == 2
    shown = capsys.readouterr()
    assert "lr 0.01" in shown.out
    assert "Error: Cannot write file/out.json" in shown.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rank", "nothing.py"], "Error: There is no file nothing.py"),
        (["rank", "my_task.py", "--target", "soon"], "Error: Cannot read target 'soon'"),
        (["rank", "my_task.py", "--candidates", "0"], "Error: num_candidates is 0. Give a whole number of at least 1."),
        (
            ["rank", "my_task.py", "--precision", "float8"],
            "Error: precision is 'float8'. Use one of: float32, bfloat16.",
        ),
        (["rank", "my_task.py", "--method", "ode"], "Error: method is 'ode'. Use one of: sgd, sde."),
        (["rank"], "Missing argument"),
        (["rankk"], "No such command"),
    ],
)
def test_mistakes_end_with_two_and_without_a_traceback(
    monkeypatch: Any, fake: FakeRank, task_file: str, capsys: Any, arguments: list[str], message: str
) -> None:
    assert run(monkeypatch, *arguments) == 2
    shown = capsys.readouterr()
    assert message in " ".join(shown.err.split())
    assert "Traceback" not in shown.err
    assert fake.calls == []


def test_errors_of_raytt_are_one_message(monkeypatch: Any, fake: FakeRank, task_file: str, capsys: Any) -> None:
    fake.error = ResourceError("Asked for 4 GPUs [GPU: 4], the cluster has 0.")
    assert run(monkeypatch, "rank", task_file) == 2
    assert capsys.readouterr().err == "Error: Asked for 4 GPUs [GPU: 4], the cluster has 0.\n"


def test_other_errors_keep_their_traceback(monkeypatch: Any, fake: FakeRank, task_file: str) -> None:
    fake.error = ZeroDivisionError("a bug")
    monkeypatch.setattr(sys, "argv", ["raytt", "rank", task_file])
    with pytest.raises(ZeroDivisionError, match="a bug"):
        cli.main()


def test_interrupt_says_how_to_go_on(monkeypatch: Any, fake: FakeRank, task_file: str, capsys: Any) -> None:
    fake.error = KeyboardInterrupt()
    assert run(monkeypatch, "rank", "my_task.py", "--seed", "3") == 130
    name = fake.calls[0]["run"].name
    assert f"  raytt rank my_task.py --seed 3 --name {name}\n" in capsys.readouterr().err
    assert run(monkeypatch, "rank", "my_task.py", "--name", "mine") == 130
    assert "  raytt rank my_task.py --name mine\n" in capsys.readouterr().err


def test_version(monkeypatch: Any, capsys: Any) -> None:
    assert run(monkeypatch, "--version") == 0
    assert capsys.readouterr().out.startswith("raytt 0.")


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("raytt bu", ["budget"]),
        ("raytt budget --pri", ["--price"]),
        ("raytt rank t.py --precision b", ["bfloat16"]),
        ("raytt budget runs/mine --price azure:NC24", ["azure:NC24ads_A100_v4", "azure:NC24ads_A100_v4:spot"]),
    ],
)
def test_shells_complete_commands_options_and_machines(words: str, completed: list[str]) -> None:
    env = {"_RAYTT_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    result = CliRunner().invoke(cli.app, [], prog_name="raytt", env=env)
    assert result.stdout.split() == completed


@pytest.mark.parametrize(
    "command", ["", "rank", "budget", "report", "export", "init", "doctor", "check", "fit", "curves"]
)
def test_help_shows_examples(monkeypatch: Any, capsys: Any, command: str) -> None:
    assert run(monkeypatch, *command.split(), "--help") == 0
    examples = capsys.readouterr().out.partition("Examples")[2]
    assert f"raytt {command}" in examples


def test_help_needs_neither_torch_nor_ray() -> None:
    code = "import raytt.cli.main, sys; print(sorted({'torch', 'ray', 'pandas', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
