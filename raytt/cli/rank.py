"""``raytt rank``: a search space ranked by predicted cost, or by predicted quality."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from raytt.cli import options
from raytt.cli.money import MoneyOptions
from raytt.settings.cluster import ClusterSettings
from raytt.settings.estimator import EstimatorSettings
from raytt.settings.ranking import RankingSettings
from raytt.settings.run import RunSettings

EXIT_INTERRUPTED = 130

EXAMPLES = """
[bold]Examples[/bold]

raytt rank raytt.examples.digits

raytt rank my_task.py --candidates 200 --target 0.05 --price aws:g6.xlarge --budget-usd 40 --deadline 12h

raytt rank my_task.py --objective val_accuracy --early-stopping 3 --budget-time 2h

raytt rank my_task.py --target accuracy=0.95 --samples 512 --address auto --name first
"""


@options.expanded
def command(
    *,
    task: options.TaskPlace,
    target: options.TargetText = None,
    ranking: RankingSettings,
    estimator: EstimatorSettings,
    cluster: ClusterSettings,
    run: RunSettings,
    money: MoneyOptions,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the ranking here as JSON.", show_default=False)
    ] = None,
) -> None:
    """Rank fine-tuning configurations by predicted cost to a target, or by quality at the end of their budgets.

    At most one of them per optimizer is trained, for a short reference run; with --reference-steps 0 none is.
    """
    # torch and ray take seconds to import, --help should not.
    from rich.console import Console

    import raytt
    from raytt.task.load import load_task
    from raytt.task.target import Target

    terms = money.terms()
    wanted = None if target is None else Target.parse(target)
    loaded = load_task(task)
    named = run if run.name else replace(run, name=f"{loaded.task.name}-{datetime.now():%Y%m%d-%H%M%S}")
    try:
        found = raytt.rank(
            loaded.task,
            loaded.search_space,
            target=wanted or loaded.target,
            num_candidates=ranking.num_candidates,
            seed=ranking.seed,
            max_epochs=ranking.max_epochs,
            usd_per_hour=ranking.usd_per_hour,
            objective=ranking.objective,
            early_stopping=ranking.early_stopping,
            terms=terms,
            cluster=cluster,
            estimator=estimator,
            run=named,
        )
    except KeyboardInterrupt:
        again = sys.argv[1:] if run.name else [*sys.argv[1:], "--name", str(named.name)]
        typer.echo(f"\nInterrupted. What is done is kept; to go on:\n\n  raytt {shlex.join(again)}\n", err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    console = Console()
    if console.is_terminal:
        console.print(found)
    else:
        typer.echo(str(found))
    if json_file is not None:
        found.save(json_file)
