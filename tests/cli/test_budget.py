from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from raytt.cli.main import app
from raytt.errors import InputError
from tests.support.run_directory import PRICES, priced_ranking, write_run


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["budget", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def test_it_answers_as_the_run_was_asked(tmp_path: Path) -> None:
    text = run(write_run(tmp_path))
    assert "at most $0.02 and at most 60 s" in text
    assert all(name in text for name in PRICES)


def test_other_machines_and_bounds(tmp_path: Path) -> None:
    out = tmp_path / "plans.json"
    text = run(write_run(tmp_path), "--price", "aws:p5.4xlarge", "--deadline", "2h", "--budget-usd", "3", "--json", out)
    assert "at most $3 and at most 2.0 h" in text
    assert "aws:p5.4xlarge in us-east-1: $6.88 per hour on 2026 (SkyPilot catalog v8)" in text
    data = json.loads(out.read_text())
    assert {plan["machine"] for plan in data["plans"]} == {"aws:p5.4xlarge"}
    assert data["terms"]["deadline"] == 7200.0


def test_a_saved_ranking_will_do(tmp_path: Path) -> None:
    priced_ranking().save(tmp_path / "r.json")
    assert "aws:g6.xlarge" in run(tmp_path / "r.json")


def test_prices_and_times_of_ones_own(tmp_path: Path) -> None:
    table = tmp_path / "own.csv"
    table.write_text(
        "Cloud,InstanceType,AcceleratorName,AcceleratorCount,Region,Price,as_of,source\n"
        "mine,box,Odd,1,cellar,3.6,2020-01-01,the bill\n"
    )
    place = write_run(tmp_path)
    text = run(
        place, "--catalog", table, "--price", "mine:box", "--seconds-per-step", "mine:box/0.5", "--budget-usd", 1
    )
    # 80.5 steps of half a second at a tenth of a cent each.
    assert "40 s" in text
    assert "$0.040" in text
    assert "given by the user" in text
    assert "The price of mine:box is of 2020-01-01" in text
    with pytest.raises(InputError, match="no 'mine:box'"):
        run(place, "--price", "mine:box")


def test_nothing_is_computed_again(tmp_path: Path) -> None:
    place = write_run(tmp_path)
    before = sorted((file, file.stat().st_mtime_ns) for file in place.rglob("*"))
    run(place, "--price", "aws:g6.xlarge", "--deadline", "1s")
    assert sorted((file, file.stat().st_mtime_ns) for file in place.rglob("*")) == before
