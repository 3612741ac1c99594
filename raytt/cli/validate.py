"""``raytt validate``: some candidates of a finished run, really trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from raytt.cli import options
from raytt.settings.cluster import ClusterSettings
from raytt.settings.validation import ValidationSettings

EXAMPLES = """
[bold]Examples[/bold]

raytt validate raytt.examples.digits runs/digits-20261124-120000

raytt validate my_task.py runs/mine --top 1 --random 0 --use-gpu --json validation.json
"""


@options.expanded
def command(
    *,
    task: Annotated[str, typer.Argument(help="The task that was ranked: a Python file or a dotted module.")],
    run: options.RunPlace,
    choice: ValidationSettings,
    cluster: ClusterSettings,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write the comparison here as JSON.", show_default=False),
    ] = None,
) -> None:
    """Really train a few ranked candidates, and say how far off the prediction was."""
    from rich.console import Console

    from raytt.store.text_files import write_json
    from raytt.task.load import load_task
    from raytt.workflows.validate import validate

    found = validate(
        load_task(task).task,
        run,
        top=choice.top,
        random=choice.random,
        seed=choice.seed,
        cluster=cluster,
    )
    console = Console()
    if console.is_terminal:
        console.print(found)
    else:
        typer.echo(str(found))
    if json_file is not None:
        write_json(json_file, found.to_json())
