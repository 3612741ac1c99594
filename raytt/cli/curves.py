"""``raytt curves``: candidates ranked by the first parts of their own learning curves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = """
[bold]Examples[/bold]

raytt curves runs.csv --metric accuracy --maximize --budget 50

raytt curves runs.jsonl --metric val_loss --top 10 --json ranking.json
"""


def command(
    *,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="CSV, or JSON lines (.jsonl): a row an evaluation, with the metric, `epoch` or `step`, the "
            "hyperparameters, and if wanted `run` (its name) and `seconds` (what the evaluation took).",
            show_default=False,
        ),
    ],
    metric: Annotated[
        str, typer.Option("--metric", metavar="COLUMN", help="The metric that is compared.", show_default=False)
    ],
    maximize: Annotated[bool, typer.Option("--maximize", help="More of the metric is better; else less is.")] = False,
    budget: Annotated[
        float | None,
        typer.Option(
            "--budget",
            metavar="NUMBER > 0",
            help="The epoch or step at which a whole run ends. Default: the last in the file.",
            show_default=False,
        ),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option("--top", min=1, metavar="INTEGER ≥ 1", help="Show the best so many.", show_default=False),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the ranking here as JSON.", show_default=False)
    ] = None,
) -> None:
    """Which run will end best? Candidates ranked by their learning curves so far, and what to train on next.

    Neither a task nor training is needed.
    """
    from rich.console import Console

    from raytt.report.curve_table import plain_curves, render_curves
    from raytt.store.text_files import write_json
    from raytt.workflows.curves import rank_curve_file

    found = rank_curve_file(file, metric=metric, maximize=maximize, budget=budget)
    console = Console()
    if console.is_terminal:
        console.print(render_curves(found, top=top))
    else:
        typer.echo(plain_curves(found, top=top))
    if json_file is not None:
        write_json(json_file, found.to_json())
