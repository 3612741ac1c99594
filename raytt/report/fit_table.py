"""The memory of training steps as a table for terminals."""

from __future__ import annotations

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from raytt.report.words import as_text
from raytt.results.fit import human_bytes
from raytt.results.fit_table import FitTable

MOST_SIZES = 8
"""Columns of batch sizes; what lies between is in the JSON file."""


def render_fit(found: FitTable) -> RenderableType:
    """Peak memory by configuration and batch size, what it is made of at the largest, and the largest that fit."""
    sizes = sorted({size for row in found.rows for size in row.parts})
    if len(sizes) > MOST_SIZES:
        sizes = [sizes[round(i * (len(sizes) - 1) / (MOST_SIZES - 1))] for i in range(MOST_SIZES)]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("configuration", ratio=1, overflow="fold")
    for size in sizes:
        table.add_column(f"batch {size}", justify="right", no_wrap=True)
    for device in found.devices:
        table.add_column(f"fits {device.label}", justify="right", overflow="fold")
    roomiest = max((device.usable_bytes for device in found.devices), default=float("inf"))
    for row in found.rows:
        cells = [
            Text(human_bytes(row.parts[size].total), style="red" if row.parts[size].total > roomiest else "")
            for size in sizes
        ]
        largest = [f"≤ {count:,}" if count else "none" for count in row.largest]
        table.add_row(row.label, *cells, *largest)
    where = "a GPU" if found.processor == "cuda" else "this machine's processor"
    lines = [
        f"Peak memory of a training step on {where}, {found.source}.",
        *(f"{device.label}: {human_bytes(device.usable_bytes)} for steps." for device in found.devices),
        *(
            f"At batch {sizes[-1]}, {row.label}: weights {human_bytes(row.parts[sizes[-1]].weights)}, optimizer "
            f"{human_bytes(row.parts[sizes[-1]].state)}, activations, gradients and all else "
            f"{human_bytes(row.parts[sizes[-1]].passes)}"
            + (f", average {human_bytes(row.parts[sizes[-1]].average)}" if row.parts[sizes[-1]].average else "")
            + "."
            for row in found.rows
        ),
    ]
    return Group(Text(found.task, style="bold"), table, *map(Text, lines))


def plain_fit(found: FitTable, *, width: int = 120) -> str:
    """The same without colours."""
    return as_text(render_fit(found), width=width)
