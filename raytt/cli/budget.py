"""``raytt budget``: prices and decisions for a finished run, without computing anything again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from raytt.cli import options
from raytt.cli.money import MoneyOptions

EXAMPLES = """
[bold]Examples[/bold]

raytt budget runs/digits-20261124-120000 --price aws:g6.xlarge --budget-usd 40 --deadline 12h

raytt budget runs/mine --price aws:g6.xlarge --price aws:p5.48xlarge --gpus 1 --gpus 8 --efficiency 0.8..0.95

raytt budget runs/mine --catalog prices.csv --price mine:box --seconds-per-step mine:box/32=0.12 --json plans.json
"""


@options.expanded
def command(
    *,
    run: options.RunPlace,
    money: MoneyOptions,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write all plans here as JSON.", show_default=False)
    ] = None,
) -> None:
    """What to run, where, and for how much: answered from a finished run.

    What is not given is as the run was asked; a run asked for no machine has the one on which it was timed.
    """
    from datetime import UTC, datetime

    from rich.console import Console

    from raytt.pricing.catalog import warn_of_age
    from raytt.report.money import full_decision, plain_decision
    from raytt.results.finished_run import load_ranking
    from raytt.results.pricing_document import decision_to_json, quality_choice_to_json
    from raytt.store.text_files import write_json

    ranking = load_ranking(run)
    terms = money.terms(base=ranking.terms)
    decision = ranking.decide(terms)
    stale = warn_of_age(terms.offers, datetime.now(UTC).date())
    decision = replace(decision, notes=(*decision.notes, *stale))
    console = Console()
    if console.is_terminal:
        console.print(full_decision(ranking, decision))
    else:
        typer.echo(plain_decision(ranking, decision))
    if json_file is not None:
        choice = ranking.choose_quality(terms)
        quality = {} if choice is None else {"quality_choice": quality_choice_to_json(choice)}
        write_json(json_file, decision_to_json(decision) | quality)
