"""``raytt doctor``: what is wrong, and how to mend it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from raytt.cli import options
from raytt.settings.cluster import ClusterSettings
from raytt.settings.run import RunSettings

EXAMPLES = """
[bold]Examples[/bold]

raytt doctor

raytt doctor --address auto --storage-path s3://bucket/raytt
"""


@options.expanded
def command(
    *,
    cluster: Annotated[ClusterSettings, options.Pick(only=("address",))],
    run: Annotated[RunSettings, options.Pick(only=("storage_path",))],
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the findings here as JSON.", show_default=False)
    ] = None,
) -> None:
    """Check Python, packages, devices, memory, storage and Ray. Exit code 1 if something is bad."""
    from rich.console import Console
    from rich.text import Text

    from raytt.cluster.plumbing.doctor import Finding, Verdict, examine
    from raytt.store.text_files import write_json

    signs = {Verdict.GOOD: ("✓", "green"), Verdict.WARNING: ("!", "yellow"), Verdict.BAD: ("✗", "red")}
    console = Console()
    findings: list[Finding] = []
    for finding in examine(address=cluster.address, storage_path=str(run.storage_path)):
        findings.append(finding)
        sign, colour = signs[finding.verdict]
        console.print(Text.assemble((f"{sign} {finding.what:<14}", colour), finding.found), soft_wrap=True)
        if finding.remedy:
            console.print(Text(f"  → {finding.remedy}", style="bold"), soft_wrap=True)
    if json_file is not None:
        write_json(json_file, [asdict(finding) for finding in findings])
    bad = [finding for finding in findings if finding.verdict is Verdict.BAD]
    console.print("All well." if not bad else f"{len(bad)} thing{'s' if len(bad) > 1 else ''} to mend.")
    if bad:
        raise typer.Exit(1)
