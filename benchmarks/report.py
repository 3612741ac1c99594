"""What the benchmarks share: dated reports under ``benchmarks/results`` and the machine they were measured on."""

from __future__ import annotations

import datetime
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def machine() -> str:
    """Processor count, architecture and versions, in words."""
    import numpy
    import ray
    import torch

    return (
        f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}, "
        f"torch {torch.__version__}, ray {ray.__version__}, numpy {numpy.__version__}"
    )


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table."""
    cells = [[str(c) for c in row] for row in rows]
    widths = [max(len(row[i]) for row in [list(header), *cells]) for i in range(len(header))]

    def line(row: Sequence[str]) -> str:
        return "| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |"

    return "\n".join([line(header), "|" + "|".join("-" * (w + 2) for w in widths) + "|", *(line(row) for row in cells)])


def write(name: str, command: str, body: str, *, figures: Any = None, json_file: str | None = None) -> Path:
    """Print a report and keep it as ``results/<date>-<name>.md``; the figures also go to ``json_file`` when given."""
    date = datetime.date.today().isoformat()
    text = f"# {name}\n\n{date} · {machine()}\n\nReproduce: `{command}`\n\n{body}\n"
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{date}-{name}.md"
    path.write_text(text)
    if json_file is not None:
        Path(json_file).write_text(json.dumps(figures, indent=1, allow_nan=False))
    print(text)
    return path
