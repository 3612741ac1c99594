"""Findings on one screen, as JSON, and in the exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from raytt.cli.main import app

FILE = """
import functools
import torch
from torch import nn
import raytt

@functools.cache
def inputs():
    return torch.randn(20, 3, generator=torch.Generator().manual_seed(0))

@functools.lru_cache(maxsize=2)
def limited(number):
    return number if number < 3 else limited(number - 1)

def model():
    torch.manual_seed(0)
    return nn.Linear(3, WIDTH)

def data():
    return inputs(), torch.arange(20) % limited(5)

task = raytt.Task(name="mine", model=model, data=data, mode="train")
"""


@pytest.mark.parametrize(("width", "code", "end"), [(2, 0, "All well."), (1, 1, "then check again.")])
def test_a_file_with_cached_helpers_and_no_search_space(tmp_path: Path, width: int, code: int, end: str) -> None:
    file, out = tmp_path / "mine.py", tmp_path / "found.json"
    file.write_text(FILE.replace("WIDTH", str(width)))
    result = CliRunner().invoke(app, ["check", str(file), "--json", str(out)])
    assert result.exit_code == code, result.output
    assert result.output.strip().endswith(end)
    findings = json.loads(out.read_text())
    for finding in findings:
        assert finding["found"] in result.output
        assert finding["remedy"] in result.output
    assert ("journey" in {finding["what"] for finding in findings}) == (code == 0)
