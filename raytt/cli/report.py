"""``raytt report``: a finished run as one HTML file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from raytt.cli import options

EXAMPLES = """
[bold]Examples[/bold]

raytt report runs/digits-20261124-120000

raytt report runs/mine --show 12 --show 20 --out mine.html
"""


def command(
    run: options.RunPlace,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where to. Default: report.html in the run's directory.", show_default=False),
    ] = None,
    show: Annotated[
        list[int] | None,
        typer.Option(metavar="RANK", help="Also draw the curves of the candidate of this rank.", show_default=False),
    ] = None,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write what the report shows here as JSON.", show_default=False),
    ] = None,
) -> None:
    """Write a report of a finished run: one HTML file that needs no network."""
    from datetime import UTC, datetime

    from raytt.report.html import report
    from raytt.results.finished_run import FinishedRun, load_run
    from raytt.results.pricing_document import decision_to_json
    from raytt.store.text_files import write_json, write_text

    def as_json(found: FinishedRun) -> dict[str, Any]:
        return {
            "ranking": found.ranking.to_json(),
            "decision": decision_to_json(found.ranking.decide()),
            "references": [check.to_json() for check in found.references],
            "validation": [asdict(item) for item in found.validation],
            "inputs": found.facts,
        }

    found = load_run(run)
    file = out or (Path(f"{found.name}.html") if "://" in found.place else Path(found.place) / "report.html")
    write_text(file, report(found, now=datetime.now(UTC), show=show or ()))
    if json_file is not None:
        write_json(json_file, as_json(found))
    typer.echo(str(file))
