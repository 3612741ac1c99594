"""The report in a real browser: sorting, filtering, without scripts, narrow, dark, printed; and that it asks nobody."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from raytt.report.html import report
from raytt.results.finished_run import load_run
from tests.support.browser import CHROMIUM, Browser
from tests.support.run_directory import REFERENCES, VALIDATION, priced_ranking, write_run

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")

RANKS = (
    "[...document.querySelectorAll('#table tbody tr')].filter(r => r.offsetHeight)"
    ".map(r => Number(r.cells[0].textContent))"
)
OUTSIDE = """
[...document.querySelectorAll('svg[role=img]')].flatMap(svg => {
    const box = svg.getBoundingClientRect();
    const sticksOut = t => {
        const r = t.getBoundingClientRect();
        return r.left < box.left - 1 || r.right > box.right + 1 || r.top < box.top - 1 || r.bottom > box.bottom + 1;
    };
    return [...svg.querySelectorAll('text')].filter(sticksOut).map(t => t.textContent);
})
"""
CONTRAST = """
(() => {
    const linear = n => n <= .03928 ? n / 12.92 : ((n + .055) / 1.055) ** 2.4;
    const light = c => {
        const [r, g, b] = c.match(/[0-9.]+/g).slice(0, 3).map(n => linear(n / 255));
        return .2126 * r + .7152 * g + .0722 * b;
    };
    const back = light(getComputedStyle(document.body).backgroundColor);
    const ratio = e => {
        const own = light(getComputedStyle(e).color);
        return (Math.max(own, back) + .05) / (Math.min(own, back) + .05);
    };
    return Math.min(...[...document.querySelectorAll('h1, p, td, th, a, .status, figcaption, dd')].map(ratio));
})()
"""


def find(text: str) -> str:
    """Type into the search field."""
    return (
        f"{{ const field = document.getElementById('find'); field.value = '{text}';"
        "field.dispatchEvent(new Event('input', {bubbles: true})); }"
    )


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    browser = Browser()
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    hostile = priced_ranking(notes=("<img src='https://evil.example/x.png' onerror='console.error(1)'>",))
    place = write_run(folder, ranking=hostile, validation=VALIDATION, reference=REFERENCES)
    found = folder / "report.html"
    found.write_text(report(load_run(place), now=datetime(2026, 11, 24, tzinfo=UTC)), encoding="utf-8")
    return found


def head(name: str) -> str:
    return f"[...document.querySelectorAll('#table thead th')].find(h => h.textContent.trim().startsWith('{name}'))"


def test_columns_sort_both_ways_and_missing_values_stay_last(browser: Browser, file: Path) -> None:
    browser.open(file)
    assert browser.evaluate(RANKS) == [1, 2, 3, 4, 5, 6, 7]
    browser.evaluate(f"{head('Steps')}.querySelector('button').click()")
    assert browser.evaluate(f"{head('Steps')}.getAttribute('aria-sort')") == "ascending"
    # 80.5, 100 and 1,200 steps; the others have none.
    assert browser.evaluate(RANKS)[:3] == [1, 2, 3]
    browser.evaluate(f"{head('Steps')}.querySelector('button').click()")
    assert browser.evaluate(RANKS)[:3] == [3, 2, 1]
    assert browser.evaluate(f"{head('Rank')}.getAttribute('aria-sort')") is None
    browser.evaluate(f"{head('Candidate')}.querySelector('button').click()")
    names = browser.evaluate("[...document.querySelectorAll('#table tbody th')].map(h => h.textContent)")
    assert names == sorted(names, key=lambda name: float(name.split(",")[0].removeprefix("lr ")))
    assert browser.logged == []


def test_filters(browser: Browser, file: Path) -> None:
    browser.open(file)
    browser.evaluate("document.querySelector('input[value=unstable]').click()")
    assert browser.evaluate(RANKS) == [1, 2, 3, 4, 5, 6]
    browser.evaluate(find("BATCH 8"))
    assert browser.evaluate(RANKS) == [3, 4]
    assert browser.evaluate("document.getElementById('count').textContent") == "2 of 7 shown"
    browser.evaluate(find("batch 3"))
    assert browser.evaluate(RANKS) == []
    browser.evaluate(find("constant, lr 0.0"))
    assert browser.evaluate(RANKS) == [1, 2, 5, 6]
    browser.evaluate(find("constant,nesterov"))
    assert browser.evaluate(RANKS) == [1]
    browser.evaluate(find("("))
    assert browser.evaluate(RANKS) == []
    browser.evaluate(find(""))
    browser.evaluate("document.querySelector('input[value=unstable]').click()")
    assert browser.evaluate(RANKS) == [1, 2, 3, 4, 5, 6, 7]
    assert browser.logged == []


def test_it_asks_nobody_and_logs_nothing(browser: Browser, file: Path) -> None:
    for dark in (False, True):
        browser.open(file, dark=dark)
        browser.evaluate("new Promise(done => setTimeout(done, 200))")
        assert browser.requested == []
        assert browser.logged == []


def test_all_can_be_read_without_scripts(browser: Browser, file: Path) -> None:
    browser.open(file, scripts=False)
    shown = browser.call("DOM.getDocument", depth=-1)
    text = browser.call("DOM.getOuterHTML", nodeId=shown["root"]["nodeId"])["outerHTML"]
    assert text.count("<tr data-status") == 7
    assert "<button" not in text.partition("<script>")[0]
    assert re.search(r'<form id="filters"[^>]* hidden', text)


@pytest.mark.parametrize("width", [400, 1200])
def test_nothing_sticks_out(browser: Browser, file: Path, width: int) -> None:
    browser.open(file, width=width)
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    # Words inside pictures stay inside them.
    assert browser.evaluate(OUTSIDE) == []


def test_dark_and_light_can_both_be_read(browser: Browser, file: Path) -> None:
    for dark in (False, True):
        browser.open(file, dark=dark)
        background = browser.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (background == "rgb(255, 255, 255)") is not dark
        # WCAG 2.2, success criterion 1.4.3 asks for 4.5.
        assert browser.evaluate(CONTRAST) >= 4.5


def test_pictures_and_tables_have_names(browser: Browser, file: Path) -> None:
    browser.open(file)
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    roles = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node["ignored"]]
    pictures = [name for role, name in roles if role in ("image", "img")]
    assert len(pictures) >= 8
    assert all(pictures)
    buttons = [name for role, name in roles if role == "button"]
    assert {"Rank", "Candidate", "Status", "Steps", "Time", "Cost"} <= {name.rstrip(" ↕↑↓") for name in buttons}
    assert [role for role, _ in roles if role == "main"] == ["main"]


def test_it_prints(browser: Browser, file: Path) -> None:
    # As wide as the printable part of a page of A4.
    browser.open(file, width=718, dark=True)
    browser.call("Emulation.setEmulatedMedia", media="print")
    assert browser.evaluate("Math.max(...[...document.querySelectorAll('table')].map(t => t.offsetWidth))") <= 718
    assert browser.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.evaluate("document.querySelector('#provenance details table').offsetHeight") > 0
    browser.call("Emulation.setEmulatedMedia", media="")
    data = browser.pdf()
    assert data.startswith(b"%PDF")
    pages = len(re.findall(rb"/Type\s*/Page\b", data))
    assert 2 <= pages <= 12
