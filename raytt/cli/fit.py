"""``raytt fit``: the memory of training steps by batch size, in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from raytt.cli import options
from raytt.cli.money import MoneyOptions
from raytt.settings.ranking import RankingSettings

EXAMPLES = """
[bold]Examples[/bold]

raytt fit my_task.py

raytt fit my_task.py --price aws:g6.xlarge --price aws:p5.4xlarge

raytt fit my_task.py --memory 24GiB --json memory.json
"""


@options.expanded
def command(
    *,
    task: options.TaskPlace,
    memory: Annotated[
        str | None,
        typer.Option("--memory", metavar="SIZE", help="Memory of a device: 24GiB, 16GB, 512MiB.", show_default=False),
    ] = None,
    money: Annotated[MoneyOptions, options.Pick(only=("prices", "catalog"))],
    ranking: Annotated[RankingSettings, options.Pick(only=("num_candidates", "seed"))],
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the table here as JSON.", show_default=False)
    ] = None,
) -> None:
    """Will it fit? Peak memory of a training step by batch size, and the largest batch that fits a device."""
    from rich.console import Console

    from raytt.report.fit_table import plain_fit, render_fit
    from raytt.store.text_files import write_json
    from raytt.task.load import load_task
    from raytt.workflows.fit import fit

    terms = money.terms()
    loaded = load_task(task, needs_space=False)
    found = fit(
        loaded.task,
        loaded.search_space,
        offers=terms.offers,
        memory=memory,
        num_candidates=ranking.num_candidates,
        seed=ranking.seed,
    )
    console = Console()
    if console.is_terminal:
        console.print(render_fit(found))
    else:
        typer.echo(plain_fit(found))
    if json_file is not None:
        write_json(json_file, found.to_json())
