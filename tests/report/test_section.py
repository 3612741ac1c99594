from __future__ import annotations

import re
import tomllib
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from raytt.report.html import report
from raytt.report.section import PageInput, Section
from raytt.report.sections import SECTIONS
from raytt.results.finished_run import load_run
from tests.support.run_directory import write_run

ROOT = Path(__file__).parents[2]


def reasons(page: PageInput) -> dict[str, Any]:
    return {"reasons": [f"{len(page.names)} <candidates>"], "notes": ()}


EXTRA = Section(
    id="extra",
    title="More",
    heading=lambda page: f"More about {page.ranking.task}",
    template="sections/trust.html.jinja",
    contents=reasons,
)


def page(folder: Path) -> str:
    return report(load_run(write_run(folder)), now=datetime(2026, 11, 24, tzinfo=UTC))


def test_a_registered_section_stands_on_the_page_and_in_its_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SECTIONS, "_entries", {**SECTIONS._entries, "extra": EXTRA})
    text = page(tmp_path)
    assert text.count('<li><a href="#extra">More</a></li>') == 1
    assert '<section id="extra" aria-labelledby="h-extra">\n<h2 id="h-extra">More about digits</h2>' in text
    assert "<li>7 &lt;candidates&gt;</li>" in text
    # Last in the list as on the page.
    assert re.findall(r'<section id="(\w+)"', text) == re.findall(r'<li><a href="#(\w+)"', text)
    assert re.findall(r'<section id="(\w+)"', text)[-2:] == ["provenance", "extra"]


def test_a_section_with_nothing_to_show_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = replace(EXTRA, contents=lambda page: None)
    monkeypatch.setattr(SECTIONS, "_entries", {**SECTIONS._entries, "extra": empty})
    assert "#extra" not in page(tmp_path)


def test_templates_styles_and_scripts_are_installed_with_the_package() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = settings["tool"]["setuptools"]["package-data"]["raytt"]
    installed = {file for pattern in patterns for file in (ROOT / "raytt").glob(pattern)}
    needed = {file for file in (ROOT / "raytt" / "report").rglob("*") if file.suffix in (".jinja", ".css", ".js")}
    assert {file.name for file in needed} >= {"report.html.jinja", "ranking.html.jinja", "report.css", "report.js"}
    assert needed <= installed
