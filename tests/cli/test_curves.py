from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from raytt.cli.main import app

ROWS = """run,lr,epoch,accuracy
first,0.1,1,0.5
first,0.1,2,0.6
second,0.2,1,0.7
third,0.3,,
"""


def test_a_table_and_a_file_of_the_ranking(tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text(ROWS)
    out = tmp_path / "out.json"
    asked = ["curves", str(tmp_path / "runs.csv"), "--metric", "accuracy", "--maximize", "--budget", "10"]
    result = CliRunner().invoke(app, [*asked, "--top", "2", "--json", str(out)])
    assert result.exit_code == 0, result.output
    assert "1 of 10" in result.output
    assert "Expected accuracy at epoch 10, higher is better" in result.output
    assert "Not shown: 1 more." in result.output
    assert "Train on next" in result.output
    found = json.loads(out.read_text())
    assert {c["run"] for c in found["candidates"]} == {"first", "second", "third"}
    assert [c["rank"] for c in found["candidates"]] == [1, 2, 3]
    assert {(c["run"], c["last"]) for c in found["candidates"]} == {("first", 0.6), ("second", 0.7), ("third", None)}
    assert sorted(found["next"]) == [1, 2, 3]
    assert (found["metric"], found["maximize"], found["evaluations"]) == ("accuracy", True, 10)


def test_what_cannot_be_ranked_is_said(tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text(ROWS)
    result = CliRunner().invoke(app, ["curves", str(tmp_path / "runs.csv"), "--metric", "loss"])
    assert "no column 'loss'" in str(result.exception)
