"""A ranking by learning curves as a table for terminals."""

from __future__ import annotations

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from raytt.report.words import as_text
from raytt.results.curve_table import CurveTable

NEXT = 3
"""Runs that are named as worth going on with."""


def render_curves(found: CurveTable, *, top: int | None = None) -> RenderableType:
    """The best ``top`` candidates (None: all) with what is expected of them, and what to train on."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("#", justify="right")
    table.add_column("configuration", ratio=1, overflow="fold")
    for title in ("evaluated", f"{found.metric} so far", "expected", "90 % interval", "fails"):
        table.add_column(title, justify="right", no_wrap=True)
    shown = found.rows[:top]
    for rank, row in enumerate(shown, start=1):
        interval = "" if row.low is None or row.high is None else f"{row.low:.4g} … {row.high:.4g}"
        table.add_row(
            str(rank),
            row.label,
            f"{row.evaluations} of {found.evaluations}",
            _number(row.last),
            _number(row.final),
            interval,
            f"{row.failing:.0%}",
        )
    better = "higher" if found.maximize else "lower"
    lines = [
        f"Expected {found.metric} at {found.clock} {found.budget:g}, {better} is better; the interval holds unless "
        "the run fails."
    ]
    if len(shown) < len(found.rows):
        lines.append(f"Not shown: {len(found.rows) - len(shown)} more.")
    if found.next:
        named = "; ".join(f"#{place + 1} {found.rows[place].label}" for place in found.next[:NEXT])
        lines.append(f"Train on next, for one more evaluation each: {named}.")
    return Group(table, *map(Text, lines))


def plain_curves(found: CurveTable, *, top: int | None = None, width: int = 120) -> str:
    """The same without colours."""
    return as_text(render_curves(found, top=top), width=width)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
