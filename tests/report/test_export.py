from __future__ import annotations

import csv
import json
import struct
import sys
import types
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from typer.testing import CliRunner

from raytt.cli.main import app
from raytt.errors import InputError, StoreError
from raytt.report import export
from raytt.results.finished_run import load_run
from tests.support.fakes import EXAMPLES, example_ranking
from tests.support.run_directory import write_run


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["export", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_csv_and_parquet_hold_the_same(tmp_path: Path) -> None:
    place = write_run(tmp_path)
    files = [tmp_path / "new" / "r.csv", tmp_path / "new" / "r.parquet", tmp_path / "r.json"]
    assert run(place, "--csv", files[0], "--parquet", files[1], "--json", files[2]).split() == list(map(str, files))
    with files[0].open(newline="") as file:
        lines = list(csv.DictReader(file))
    table = pyarrow.parquet.read_table(files[1]).to_pylist()
    candidates = json.loads(files[2].read_text())["candidates"]
    assert len(lines) == len(table) == len(candidates) == len(EXAMPLES)
    for line, row, found in zip(lines, table, candidates, strict=True):
        assert list(line) == list(row)
        assert {k: "" if v is None else str(v) for k, v in row.items()} == line
        assert row["lr"] == found["config"]["lr"]
        assert (row["steps"], row["usd"], row["status"]) == (found["steps"], found["usd"], found["status"])


def test_nothing_is_left_of_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for write in (export.to_csv, export.to_parquet):
        with pytest.raises(StoreError, match="Cannot write"):
            write(example_ranking(), tmp_path / "file" / "r")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_empty_ranking(tmp_path: Path) -> None:
    export.to_csv(example_ranking(()), tmp_path / "r.csv")
    assert (tmp_path / "r.csv").read_text() == "rank\n"


def records(folder: Path) -> list[Any]:
    """Events of the TensorBoard logs in a folder, without TensorBoard: length, checksum, message, checksum."""
    from tensorboardX.proto.event_pb2 import Event

    events = []
    for file in sorted(folder.rglob("events.out.tfevents.*")):
        data = file.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            events.append(Event.FromString(data[12 : 12 + length]))
            data = data[16 + length :]
    return events


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_gets_hyperparameters_and_curves(tmp_path: Path) -> None:
    place = write_run(tmp_path)
    run(place, "--tensorboard", tmp_path / "logs")
    first = tmp_path / "logs" / "made" / "001"
    scalars = [
        (v.tag, e.step, v.simple_value) for e in records(first) for v in e.summary.value if v.HasField("simple_value")
    ]
    band = load_run(place).band(load_run(place).ranking.entries[0].candidate)
    assert band is not None
    curve = [(step, value) for tag, step, value in scalars if tag == "predicted/train_loss"]
    assert [step for step, _ in curve] == [int(s) for s in band.steps]
    assert [value for _, value in curve] == pytest.approx(list(band.curves["train_loss"][1]), rel=1e-6)
    assert ("predicted/steps", 80.5) in [(tag, value) for tag, _, value in scalars]
    assert len(list((tmp_path / "logs" / "made").iterdir())) == len(EXAMPLES)


class FakeClient:
    """MLflow's client as far as it is used."""

    runs: list[dict[str, Any]]

    def __init__(self, tracking_uri: str) -> None:
        self.uri = tracking_uri
        FakeClient.runs = []
        self.experiments: dict[str, str] = {}

    def get_experiment_by_name(self, name: str) -> Any:
        return None

    def create_experiment(self, name: str) -> str:
        assert name == "raytt/digits"
        return "7"

    def create_run(self, experiment_id: str, *, run_name: str, tags: dict[str, str]) -> Any:
        assert experiment_id == "7"
        self.runs.append({"name": run_name, "tags": tags, "params": {}, "metrics": {}, "ended": False})
        return types.SimpleNamespace(info=types.SimpleNamespace(run_id=len(self.runs) - 1))

    def log_param(self, run_id: int, key: str, value: Any) -> None:
        self.runs[run_id]["params"][key] = value

    def log_metric(self, run_id: int, key: str, value: float) -> None:
        assert isinstance(value, float)
        self.runs[run_id]["metrics"][key] = value

    def set_terminated(self, run_id: int) -> None:
        self.runs[run_id]["ended"] = True


def test_mlflow_gets_a_run_per_candidate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", types.ModuleType("mlflow"))
    monkeypatch.setitem(sys.modules, "mlflow.tracking", types.SimpleNamespace(MlflowClient=FakeClient))  # type: ignore[arg-type]
    run(write_run(tmp_path), "--mlflow", "http://there")
    assert len(FakeClient.runs) == len(EXAMPLES)
    first, last = FakeClient.runs[0], FakeClient.runs[-1]
    assert (first["name"], first["tags"]["raytt.status"]) == ("made rank 1", "reached")
    assert (first["params"]["lr"], first["metrics"]["predicted_steps"]) == (0.01, 80.5)
    assert "predicted_steps" not in last["metrics"]
    assert all(item["ended"] for item in FakeClient.runs)


def test_what_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow.tracking", None)
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    place = write_run(tmp_path)
    with pytest.raises(InputError, match="needs the package mlflow-skinny"):
        run(place, "--mlflow", "x")
    with pytest.raises(InputError, match="needs the package tensorboardX"):
        run(place, "--tensorboard", tmp_path / "logs")
    with pytest.raises(InputError, match="Nothing to export to"):
        run(place)
