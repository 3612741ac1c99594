from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from raytt.cli.main import app

TASK = """
import torch

from raytt.task.task import Task

def data():
    return torch.zeros(64, 16), torch.arange(64) % 4

task = Task(name="mine", model=lambda: torch.nn.Linear(16, 4), data=data)
{space}
"""
SPACE = 'search_space = [{"lr": 0.1, "batch_size": b, "optimizer": o} for b in (8, 32) for o in ("sgd", "adamw")]'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("space", [SPACE, ""])
def test_a_table_of_memory_by_batch_size(folder: Path, space: str) -> None:
    (folder / "mine.py").write_text(TASK.format(space=space))
    result = CliRunner().invoke(
        app, ["fit", "mine.py", "--memory", "1MiB", "--price", "aws:g6.xlarge", "--json", "out.json"]
    )
    assert result.exit_code == 0, result.output
    assert "adamw, keeps 2 numbers a weight" in result.output
    found = json.loads((folder / "out.json").read_text())
    assert [device["label"] for device in found["devices"]] == ["aws:g6.xlarge", "1MiB"]
    rows = {row["configuration"].split(",")[0]: row for row in found["rows"]}
    sizes = [8, 32] if space else [1, 2, 4, 8, 16, 32, 64, 128]
    assert [int(size) for size in rows["sgd"]["peak_memory_bytes"]] == sizes
    for row in rows.values():
        parts = row["parts"]["32"]
        assert sum(parts.values()) == row["peak_memory_bytes"]["32"]
        assert parts["weights"] == 4 * (16 * 4 + 4)
        # Inputs of 64 bytes and labels of 8, and what stands per sample besides.
        assert row["peak_memory_bytes"]["32"] >= parts["weights"] + 32 * (64 + 8)
        assert 0 < row["largest_batch"]["1MiB"] < 0.9 * 2**20 / (64 + 8)
    assert rows["adamw"]["parts"]["32"]["state"] == 2 * 4 * (16 * 4 + 4)


def test_what_cannot_be_answered_is_said(folder: Path) -> None:
    (folder / "mine.py").write_text(TASK.format(space=""))
    for arguments, words in ((["--memory", "lots"], "24GiB"), (["--price", "aws:g5.xlarge"], "--memory")):
        result = CliRunner().invoke(app, ["fit", "mine.py", *arguments])
        assert words in str(result.exception)
