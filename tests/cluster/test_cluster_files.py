"""What a platform engineer would find out only when nodes do not come."""

from __future__ import annotations

import copy
import re
import shlex
import tomllib
from collections.abc import Iterator
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from pydantic import ValidationError
from ray.scripts.scripts import start as ray_start

from raytt.cli.main import app
from tests.support.cluster_schemas import SCHEMAS, RuntimeEnv

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "cluster"
LAUNCHERS = ("aws.yaml", "gcp.yaml")


def read(name: str) -> Any:
    return yaml.safe_load((CLUSTER / name).read_text())


def pinned(package: str) -> str:
    """The version in constraints.txt."""
    (found,) = re.findall(rf"^{package}==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    return str(found)


def keys(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of all keys of all mappings."""
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ():
        if isinstance(tree, dict):
            yield (*path, key)
        yield from keys(value, (*path, key))


@pytest.mark.parametrize("name", SCHEMAS)
def test_files_fit_their_schema(name: str) -> None:
    SCHEMAS[name].model_validate(read(name))


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_typo_in_any_key_fails(name: str) -> None:
    tree = read(name)
    for path in keys(tree):
        broken = copy.deepcopy(tree)
        place = broken
        for step in path[:-1]:
            place = place[step]
        place[f"{path[-1]}s"] = place.pop(path[-1])
        with pytest.raises(ValidationError):
            SCHEMAS[name].model_validate(broken)
    assert len(list(keys(tree))) > 30


@pytest.mark.parametrize("name", LAUNCHERS)
def test_ray_accepts_its_launcher_files(name: str) -> None:
    util = pytest.importorskip("ray.autoscaler._private.util")
    util.validate_config(util.prepare_config(read(name)))


@pytest.mark.parametrize("name", LAUNCHERS)
def test_the_head_stays_and_gpu_workers_come_and_go(name: str) -> None:
    launcher = SCHEMAS[name].model_validate(read(name))
    head, workers = launcher.available_node_types.head, launcher.available_node_types.gpu_spot
    assert (head.node_config.is_spot, head.labels.market) == (False, "on-demand")
    assert head.resources.cpu > 0
    assert (workers.node_config.is_spot, workers.labels.market) == (True, "spot")
    assert workers.resources.gpu > 0
    assert workers.min_workers == 0
    assert 0 < workers.max_workers <= launcher.max_workers


@pytest.mark.parametrize("name", LAUNCHERS)
def test_commands_start_ray_with_options_it_has(name: str) -> None:
    tree = read(name)
    known = {option for parameter in ray_start.params for option in parameter.opts}
    for role, market in (("head", "on-demand"), ("worker", "spot")):
        stop, command = tree[f"{role}_start_ray_commands"]
        assert stop == "ray stop"
        words = shlex.split(command)
        assert words[:2] == ["ray", "start"]
        options = dict(word.partition("=")[::2] for word in words[2:])
        assert set(options) <= known
        assert options["--labels"] == f"ray.io/market-type={market}"
        # Who reaches the dashboard can run code: nobody but who is on the machine may.
        assert options.get("--dashboard-host", "127.0.0.1") == "127.0.0.1"
    assert "--dashboard-host=127.0.0.1" in tree["head_start_ray_commands"][1]


def test_the_job_asks_for_spot_gpus_and_keeps_the_head_off_them() -> None:
    cluster = SCHEMAS["rayjob.yaml"].model_validate(read("rayjob.yaml")).spec.rayClusterSpec
    assert cluster.headGroupSpec.labels.market == "on-demand"
    assert cluster.headGroupSpec.template.spec.nodeSelector is None
    (group,) = cluster.workerGroupSpecs
    assert (group.labels.market, group.minReplicas) == ("spot", 0)
    assert group.template.spec.containers[0].resources.limits.gpu == "1"
    assert group.template.spec.nodeSelector is not None


def test_the_jobs_environment_is_yaml_in_a_string() -> None:
    RuntimeEnv.model_validate(yaml.safe_load(read("rayjob.yaml")["spec"]["runtimeEnvYAML"]))


def test_the_jobs_entry_point_is_a_command_that_raytt_has() -> None:
    words = shlex.split(read("rayjob.yaml")["spec"]["entrypoint"])
    assert words[:2] == ["raytt", "rank"]
    command = typer.main.get_command(app).commands["rank"]  # type: ignore[attr-defined]
    given = command.make_context("rank", words[2:]).params
    assert given["name"]
    assert given["use_gpu"]


def test_all_files_name_the_same_versions() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    texts = {path.name: path.read_text() for path in CLUSTER.iterdir()}
    images = {found for text in texts.values() for found in re.findall(r"raytt:([\d.]+\d)", text)}
    assert images == {project["version"]}
    assert read("rayjob.yaml")["spec"]["rayClusterSpec"]["rayVersion"] == pinned("ray")
    assert f"rayproject/ray:{pinned('ray')}-py" in texts["Dockerfile"]
    assert f"ray[default,tune]=={pinned('ray')}" in texts["Dockerfile"]


INSTRUCTIONS = {"FROM", "COPY", "RUN", "ENV"}


def test_the_image_is_built_from_what_is_there() -> None:
    text = (CLUSTER / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert {line.split()[0] for line in lines} == INSTRUCTIONS
    assert [line.split()[0] for line in lines].index("FROM") == 0
    copied: list[str] = []
    for line in lines:
        if line.startswith("COPY"):
            *sources, target = [word for word in line.split()[1:] if not word.startswith("--")]
            assert all((ROOT / source).exists() for source in sources), line
            assert target.startswith("/home/ray/raytt")
            copied += sources
    # What pyproject.toml reads when the package is built.
    assert {"pyproject.toml", "README.md", "LICENSE", "raytt"} <= set(copied)
    assert "examples" in {extra.partition("extra == ")[2].strip("'\"") for extra in requires("raytt") or []}


def test_the_page_names_every_file() -> None:
    page = (CLUSTER / "README.md").read_text()
    for path in CLUSTER.iterdir():
        if path.name != "README.md":
            assert path.name in page
    for name in re.findall(r"cluster/([\w.]+)", page):
        assert (CLUSTER / name).is_file(), name


def test_commands_of_the_page_are_commands_that_raytt_has() -> None:
    page = (CLUSTER / "README.md").read_text().replace("\\\n", " ")
    commands = re.findall(r"^raytt (.*)$", page, re.MULTILINE)
    assert commands
    group = typer.main.get_command(app)
    for line in commands:
        name, *arguments = shlex.split(line)
        group.commands[name].make_context(name, arguments)  # type: ignore[attr-defined]
