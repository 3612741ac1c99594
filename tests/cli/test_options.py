"""The commands' options are those that the settings declare."""

from __future__ import annotations

import shlex
import sys
from typing import Annotated, Any

import pytest
import typer.main
from typer.testing import CliRunner

from raytt.cli import main as cli
from raytt.cli import options
from raytt.cli.money import MoneyOptions
from raytt.errors import InputError
from raytt.settings.cluster import ClusterSettings
from raytt.settings.declaration import Setting, Settings, settings_of
from raytt.settings.estimator import EstimatorSettings
from raytt.settings.ranking import RankingSettings
from raytt.settings.run import RunSettings
from raytt.settings.validation import ValidationSettings

OWNERS: dict[str, tuple[type[Settings], ...]] = {
    "rank": (RankingSettings, EstimatorSettings, ClusterSettings, RunSettings, MoneyOptions),
    "submit": (RankingSettings, EstimatorSettings, ClusterSettings, RunSettings, MoneyOptions),
    "budget": (MoneyOptions,),
    "validate": (ValidationSettings, ClusterSettings),
}
OTHERS = {("submit", "address"), ("submit", "storage_path")}
"""On these the command has a default of its own: the job server's address, a directory that outlives the job."""
CASES = [(command, setting) for command, owners in OWNERS.items() for owner in owners for setting in settings_of(owner)]


def parameters(command: str) -> dict[str, Any]:
    """A command's options by name."""
    found = typer.main.get_command(cli.app).commands[command].params  # type: ignore[attr-defined]
    return {parameter.name: parameter for parameter in found}


@pytest.mark.parametrize(("command", "setting"), CASES, ids=[f"{c}-{s.name}" for c, s in CASES])
def test_every_setting_is_an_option_with_its_default_and_help(command: str, setting: Setting) -> None:
    option = parameters(command)[setting.name]
    assert setting.flag in option.opts
    if setting.kind is bool and setting.default:
        assert option.secondary_opts == [f"--no-{setting.flag[2:]}"]
    if (command, setting.name) in OTHERS:
        return
    assert option.help == setting.help
    assert option.default == (setting.default if setting.default != () else None)


@pytest.mark.parametrize("command", ["rank", "submit"])
@pytest.mark.parametrize(
    ("owner", "given", "typed"),
    [
        (RankingSettings, {"num_candidates": 0}, "--candidates 0"),
        (RankingSettings, {"seed": -1}, "--seed -1"),
        (RankingSettings, {"max_epochs": float("nan")}, "--max-epochs nan"),
        (RankingSettings, {"usd_per_hour": -1.0}, "--usd-per-hour -1"),
        (EstimatorSettings, {"samples": 0}, "--samples 0"),
        (EstimatorSettings, {"proj_dim": 0}, "--proj-dim 0"),
        (EstimatorSettings, {"precision": "float8"}, "--precision float8"),
        (EstimatorSettings, {"max_outputs": 7}, "--max-outputs 7"),
        (EstimatorSettings, {"method": "ode"}, "--method ode"),
        (EstimatorSettings, {"reference_steps": -1}, "--reference-steps -1"),
        (EstimatorSettings, {"method": "sde", "reference_steps": 5}, "--method sde --reference-steps 5"),
        (EstimatorSettings, {"num_paths": 0}, "--num-paths 0"),
        (ClusterSettings, {"num_workers": 0}, "--num-workers 0"),
        (ClusterSettings, {"num_workers": 1, "min_workers": 2}, "--num-workers 1 --min-workers 2"),
        (ClusterSettings, {"wait_seconds": 0.0}, "--wait-seconds 0"),
        (ClusterSettings, {"resources_per_worker": {"CPU": 0.5}}, "--resources-per-worker CPU=0.5"),
        (ClusterSettings, {"resources_per_worker": {"GPU": 1.0}}, "--resources-per-worker GPU=1"),
    ],
)
def test_a_wrong_value_is_refused_with_the_same_message(
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
    command: str,
    owner: type[Settings],
    given: dict[str, Any],
    typed: str,
) -> None:
    with pytest.raises(InputError) as caught:
        owner(**given)
    address = ["--address", "http://127.0.0.1:8265"] if command == "submit" else []
    monkeypatch.setattr(sys, "argv", ["raytt", command, "none.py", *address, *typed.split()])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert " ".join(capsys.readouterr().err.split()) == f"Error: {caught.value}"


FULL = (
    RankingSettings(num_candidates=7, seed=3, max_epochs=2.5, usd_per_hour=1.5),
    EstimatorSettings(samples=64, proj_dim=128, precision="bfloat16", max_outputs=16, num_paths=6, screen=False),
    EstimatorSettings(method="sde", reference_steps=0),
    ClusterSettings(address="auto", num_workers=3, min_workers=2, wait_seconds=90.0, use_gpu=True),
    ClusterSettings(resources_per_worker={"CPU": 4.0, "tpu": 1.0}),
    RunSettings(storage_path="a b", name="n", progress=False),
    MoneyOptions(prices=("aws:g6.xlarge", "b"), catalog="c.csv", gpus=(1, 2), efficiency="0.8..0.95"),
    MoneyOptions(seconds_per_step=("32=0.1",), budget_usd=40.0, deadline="12h", confidence=0.8),
)


@pytest.mark.parametrize("settings", FULL, ids=lambda settings: type(settings).__name__)
def test_settings_survive_the_way_through_the_command_line(settings: Settings) -> None:
    """What `raytt submit` forwards means on the cluster what was given here."""
    found: list[Settings] = []

    def command(*, settings: Settings) -> None:
        found.append(settings)

    command.__annotations__["settings"] = type(settings)
    app = typer.Typer()
    app.command()(options.expanded(command))
    result = CliRunner().invoke(app, options.arguments_of(settings), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert found == [settings]


def test_defaults_need_no_arguments() -> None:
    assert options.arguments_of(RankingSettings(), EstimatorSettings(), ClusterSettings(), RunSettings()) == []


def test_a_command_picks_fields_and_defaults() -> None:
    found: list[Any] = []

    @options.expanded
    def command(
        *,
        cluster: Annotated[ClusterSettings, options.Pick(only=("address", "num_workers"))],
        run: Annotated[RunSettings, options.Pick(without=("name",), defaults={"storage_path": "there"})],
    ) -> None:
        found.append((cluster, run))

    app = typer.Typer()
    app.command()(command)
    assert CliRunner().invoke(app, shlex.split("--num-workers 2 --no-progress")).exit_code == 0
    assert found == [(ClusterSettings(num_workers=2), RunSettings(storage_path="there", progress=False))]
    for refused in ("--use-gpu", "--name x"):
        assert CliRunner().invoke(app, shlex.split(refused)).exit_code == 2
