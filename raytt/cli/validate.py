"""``raytt validate``: some candidates of a finished run, really trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from raytt.cli import options

EXAMPLES = """
[bold]Examples[/bold]

raytt validate raytt.examples.digits runs/digits-20261124-120000

raytt validate my_task.py runs/mine --top 1 --random 0 --use-gpu --json validation.json
"""


def command(
    task: Annotated[str, typer.Argument(help="The task that was ranked: a Python file or a dotted module.")],
    run: options.RunPlace,
    top: Annotated[int, typer.Option(min=0, help="Candidates from the top of the ranking.")] = 3,
    random: Annotated[int, typer.Option(min=0, help="Further candidates, drawn from the rest.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Of that choice, and of the minibatches.")] = 0,
    num_workers: Annotated[
        int | None,
        typer.Option(min=1, help="Trainings at a time. Default: as many as the cluster holds.", show_default=False),
    ] = None,
    use_gpu: Annotated[bool, typer.Option("--use-gpu", help="Give every training a GPU.")] = False,
    address: Annotated[
        str | None, typer.Option(help="Ray cluster, as for rank. Default: this machine.", show_default=False)
    ] = None,
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
        top=top,
        random=random,
        seed=seed,
        num_workers=num_workers,
        use_gpu=use_gpu,
        address=address,
    )
    console = Console()
    if console.is_terminal:
        console.print(found)
    else:
        typer.echo(str(found))
    if json_file is not None:
        write_json(json_file, found.to_json())
