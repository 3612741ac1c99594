"""``raytt check``: a task file tried out on this machine, in seconds."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from raytt.cli import options

EXAMPLES = """
[bold]Examples[/bold]

raytt check my_task.py

raytt check my_task.py::other --target loss=0.5 --json check.json
"""


def command(
    task: options.TaskPlace,
    target: options.TargetText = None,
    space: Annotated[
        bool, typer.Option("--space/--no-space", help="Whether the search space is looked at, too, where there is one.")
    ] = True,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the findings here as JSON.", show_default=False)
    ] = None,
) -> None:
    """Try a task out without a cluster: data, network, loss, gradients, the way to workers. Exit code 1 if it fails."""
    from rich.console import Console
    from rich.text import Text

    from raytt.results.task_check import Verdict
    from raytt.store.text_files import write_json
    from raytt.task.load import load_task
    from raytt.workflows.check import check

    loaded = load_task(task, needs_space=False)
    found = check(
        loaded.task,
        loaded.search_space if space else None,
        target=loaded.target if target is None else target,
    )
    signs = {Verdict.GOOD: ("✓", "green"), Verdict.NOTE: ("!", "yellow"), Verdict.BAD: ("✗", "red")}
    console = Console()
    for finding in found.findings:
        sign, colour = signs[finding.verdict]
        console.print(Text.assemble((f"{sign} {finding.what:<11}", colour), finding.found), soft_wrap=True)
        if finding.remedy:
            console.print(Text(f"  → {finding.remedy}", style="bold"), soft_wrap=True)
    if json_file is not None:
        write_json(json_file, [asdict(finding) for finding in found.findings])
    console.print("All well." if found.passed else "Not yet: mend what is marked ✗, then check again.")
    if not found.passed:
        raise typer.Exit(1)
