"""``raytt init``: a task file to begin with."""

from __future__ import annotations

from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = """
[bold]Examples[/bold]

raytt init && raytt rank my_task.py

raytt init flowers.py --kind image
"""


class Kind(StrEnum):
    """What the file is about."""

    SMALL = "small"
    IMAGE = "image"
    TEXT = "text"


def command(
    file: Annotated[Path, typer.Argument(help="File to write.")] = Path("my_task.py"),
    kind: Annotated[
        Kind,
        typer.Option(
            help="A small network that needs nothing else, an image network, or a Hugging Face text network (both with "
            "weights from the examples extra)."
        ),
    ] = Kind.SMALL,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """Write a task file, with comments, that runs as it is."""
    from raytt.errors import InputError
    from raytt.store.text_files import write_text

    if file.suffix != ".py":
        raise InputError(f"{file} is not a Python file.", "Give a name that ends in .py.")
    if file.exists() and not force:
        raise InputError(f"{file} is there already.", "Give another name, or --force to write over it.")
    text = files("raytt.examples.templates").joinpath(f"{kind.value}.py").read_text(encoding="utf-8")
    write_text(file, text.replace("{file}", str(file)))
    typer.echo(f"Wrote {file}. Next:\n\n  raytt rank {file}\n")
