"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_PANEL = "Money and time"


def machine_names(incomplete: str) -> list[str]:
    """Machines of the catalog that comes with raytt, for completion in a shell."""
    from raytt.pricing.catalog import load_catalog

    rows = load_catalog()
    names = [offer.name for row in rows for spot in (False, True) if (offer := row.offer(spot=spot)) is not None]
    return [name for name in dict.fromkeys(names) if name.startswith(incomplete)]


def _known_precision(value: str) -> str:
    """The value, checked here so that `raytt submit` does not send a mistake to a cluster."""
    from raytt.probe.settings import as_precision

    return as_precision(value)


Precision = Annotated[
    str,
    typer.Option(
        metavar="float32|bfloat16",
        help="Of the network's passes in the probe; what adds up does so in float32.",
        callback=_known_precision,
    ),
]
MaxOutputs = Annotated[
    int,
    typer.Option(
        min=8,
        help="Outputs probed per sample, at most; with more classes these stand for the others. Below 24 predictions "
        "with AdamW were off.",
    ),
]
Price = Annotated[
    list[str] | None,
    typer.Option(
        metavar="CLOUD:INSTANCE[:spot]",
        help="A machine to price candidates on, such as aws:g6.xlarge or aws:g5.xlarge:spot; give it several times to "
        "compare machines.",
        show_default=False,
        rich_help_panel=_PANEL,
        autocompletion=machine_names,
    ),
]
Catalog = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Prices of your own: a CSV file with SkyPilot's columns, Cloud, as_of and source.",
        show_default=False,
        rich_help_panel=_PANEL,
    ),
]
Gpus = Annotated[
    list[int] | None,
    typer.Option(
        min=1, help="Number of GPUs to train on; several times to compare.", show_default="1", rich_help_panel=_PANEL
    ),
]
Efficiency = Annotated[
    str | None,
    typer.Option(
        metavar="SHARE",
        help="Efficiency of data-parallel training on several GPUs, such as 0.9 or 0.8..0.95.",
        show_default=False,
        rich_help_panel=_PANEL,
    ),
]
SecondsPerStep = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[MACHINE/][BATCH=]SECONDS",
        help="Your own figure, instead of a timed or an estimated one: 0.12, 32=0.1..0.14, aws:g6.xlarge/32=0.12.",
        show_default=False,
        rich_help_panel=_PANEL,
    ),
]
BudgetUsd = Annotated[
    float | None,
    typer.Option(help="Most that a training run may cost.", show_default=False, rich_help_panel=_PANEL),
]
Deadline = Annotated[
    str | None,
    typer.Option(
        metavar="DURATION",
        help="Longest that it may take: 12h, 90min, 1h30m, 2d.",
        show_default=False,
        rich_help_panel=_PANEL,
    ),
]
Confidence = Annotated[
    float | None,
    typer.Option(
        help="Probability with which budget and deadline must be kept; 0.5 compares medians.",
        show_default="0.5",
        rich_help_panel=_PANEL,
    ),
]
RunPlace = Annotated[
    str,
    typer.Argument(
        metavar="RUN", help="A run's directory, as path or URI, or a file that --json wrote.", show_default=False
    ),
]
