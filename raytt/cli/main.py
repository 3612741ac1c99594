"""The command line: arguments in, exit codes out."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from raytt.cli import budget, check, curves, doctor, export, fit, init, rank, report, submit, validate
from raytt.errors import RayttError

EXIT_ERROR = 2

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    epilog=rank.EXAMPLES,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"raytt {version('raytt')}")
        raise typer.Exit


@app.callback()
def raytt(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Predict steps, time and cost of fine-tuning runs before you pay for them."""


_COMMANDS = {
    "rank": rank,
    "check": check,
    "fit": fit,
    "curves": curves,
    "budget": budget,
    "report": report,
    "export": export,
    "init": init,
    "doctor": doctor,
    "validate": validate,
}
for _name, _module in _COMMANDS.items():
    app.command(_name, epilog=_module.EXAMPLES)(_module.command)
app.command("submit", epilog=submit.EXAMPLES)(submit.submit)
app.command("fetch")(submit.fetch)


def main() -> None:
    """Entry point of the ``raytt`` command; errors that raytt raises on purpose become one message and exit code 2."""
    from rich.console import Console
    from rich.text import Text

    try:
        app()
    except RayttError as error:
        Console(stderr=True).print(Text.assemble(("Error: ", "bold red"), (str(error), "red")), soft_wrap=True)
        sys.exit(EXIT_ERROR)


if __name__ == "__main__":
    main()
