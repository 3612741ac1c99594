from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from raytt.cli.main import app
from raytt.errors import InputError, StoreError
from tests.support.run_directory import REFERENCES, VALIDATION, write_run


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["report", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output.strip()


def test_the_file_lies_in_the_run_and_its_name_is_printed(tmp_path: Path) -> None:
    place = write_run(tmp_path)
    assert run(place) == str(place / "report.html")
    assert (place / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_another_place_other_candidates_and_the_data(tmp_path: Path) -> None:
    place = write_run(tmp_path, validation=VALIDATION, reference=REFERENCES)
    out, data = tmp_path / "new" / "r.html", tmp_path / "r.json"
    assert run(place, "--out", out, "--show", 7, "--json", data) == str(out)
    assert ">#7</text>" in out.read_text(encoding="utf-8")
    shown = json.loads(data.read_text())
    assert len(shown["ranking"]["candidates"]) == 7
    assert shown["validation"][0]["real_steps"] == 110.0
    assert [check["step_error"] for check in shown["references"]] == [-0.256, 0.08]
    assert shown["decision"]["fits"]
    assert not (place / "report.html").exists()


def test_of_a_uri_the_file_lies_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = write_run(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert run(place.as_uri()) == "made.html"
    assert (tmp_path / "made.html").exists()


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is no run directory"):
        run(tmp_path)
    with pytest.raises(InputError, match="no candidate of rank 99"):
        run(write_run(tmp_path), "--show", 99)
