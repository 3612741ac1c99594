from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from raytt.cli.main import app
from raytt.cluster.plumbing import doctor
from raytt.cluster.plumbing.doctor import Finding, Verdict

GOOD = Finding(what="Python", verdict=Verdict.GOOD, found="3.11")
BAD = Finding(what="Ray", verdict=Verdict.BAD, found="no cluster", remedy="Start one.")


@pytest.mark.parametrize(("findings", "code", "end"), [([GOOD], 0, "All well."), ([GOOD, BAD], 1, "1 thing to mend.")])
def test_findings_remedies_and_exit_codes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, findings: list[Finding], code: int, end: str
) -> None:
    asked: dict[str, Any] = {}

    def examine(**arguments: Any) -> Iterator[Finding]:
        asked.update(arguments)
        yield from findings

    monkeypatch.setattr(doctor, "examine", examine)
    out = tmp_path / "d.json"
    result = CliRunner().invoke(app, ["doctor", "--address", "auto", "--storage-path", "there", "--json", str(out)])
    assert result.exit_code == code
    assert asked == {"address": "auto", "storage_path": "there"}
    assert result.output.strip().endswith(end)
    for finding in findings:
        assert finding.found in result.output
        assert finding.remedy in result.output
    assert [item["verdict"] for item in json.loads(out.read_text())] == [f.verdict.value for f in findings]
