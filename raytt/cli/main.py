"""The command line: arguments in, exit codes out."""

from __future__ import annotations

import shlex
import sys
from datetime import datetime
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from raytt.cli import budget, doctor, export, init, options, report, submit, validate
from raytt.errors import RayttError

EXIT_ERROR = 2
EXIT_INTERRUPTED = 130

_EXAMPLES = """
[bold]Examples[/bold]

raytt rank raytt.examples.digits

raytt rank my_task.py --candidates 200 --target 0.05 --price aws:g6.xlarge --budget-usd 40 --deadline 12h

raytt rank my_task.py --target accuracy=0.95 --samples 512 --address auto --name first
"""

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    epilog=_EXAMPLES,
)


class Method(StrEnum):
    """Solvers of the training dynamics."""

    SGD = "sgd"
    SDE = "sde"


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


@app.command(epilog=_EXAMPLES)
def rank(
    task: Annotated[
        str,
        typer.Argument(
            metavar="TASK",
            help="A file or dotted module with `task`, `search_space` and, if wanted, `target`; FILE::NAME for a task "
            "under another name.",
            show_default=False,
        ),
    ],
    candidates: Annotated[int, typer.Option(min=1, help="Configurations to draw from the search space.")] = 32,
    target: Annotated[
        str | None,
        typer.Option(
            help="When training is done: a fraction of the initial training loss, or KIND=VALUE with KIND loss, "
            "accuracy, val_loss, val_accuracy, or plateau (plateau=0.01@3: falls by less than 1 % in 3 epochs). "
            "Default: the task's own target, else 0.1.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Everything random follows from it.")] = 0,
    proj_dim: Annotated[int, typer.Option(min=1, help="Sketch dimension of the Jacobian rows.")] = 2048,
    samples: Annotated[
        int | None,
        typer.Option(min=1, help="Training samples to probe. Default: chosen from the task.", show_default=False),
    ] = None,
    num_workers: Annotated[
        int | None,
        typer.Option(
            min=1, help="Ray workers, at most. Default: as many as there are CPUs (or GPUs).", show_default=False
        ),
    ] = None,
    min_workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Workers without which the run does not begin; others join when there is room. "
            "Default: --num-workers.",
            show_default=False,
        ),
    ] = None,
    wait_seconds: Annotated[
        float | None,
        typer.Option(
            help="Time for an autoscaler to add machines. Default: what the cluster lacks is refused at once.",
            show_default=False,
        ),
    ] = None,
    use_gpu: Annotated[bool, typer.Option("--use-gpu", help="Give every worker a GPU.")] = False,
    precision: options.Precision = "float32",
    max_outputs: options.MaxOutputs = 24,
    address: Annotated[
        str | None,
        typer.Option(
            help="Ray cluster to use (auto, host:port, ray://…). Default: Ray on this machine.", show_default=False
        ),
    ] = None,
    storage_path: Annotated[str, typer.Option(help="Where run directories are kept.")] = "runs",
    name: Annotated[
        str | None,
        typer.Option(
            help="Name of the run; one that was begun is continued. Default: task and time.", show_default=False
        ),
    ] = None,
    usd_per_hour: Annotated[
        float | None, typer.Option(min=0.0, help="Price of the training machine.", show_default=False)
    ] = None,
    max_epochs: Annotated[
        float, typer.Option(help="Budget, in passes over the training set, of candidates that bring none.")
    ] = 20.0,
    num_paths: Annotated[int, typer.Option(min=1, help="Simulated runs per candidate.")] = 4,
    method: Annotated[
        Method, typer.Option(help="Solver: the optimizer's own steps, or a stochastic differential equation.")
    ] = Method.SGD,
    reference_steps: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Most steps of the reference run, a short real training. Default: a tenth of what it saves; 0: none, "
            "the training-free method.",
            show_default=False,
        ),
    ] = None,
    price: options.Price = None,
    catalog: options.Catalog = None,
    gpus: options.Gpus = None,
    efficiency: options.Efficiency = None,
    seconds_per_step: options.SecondsPerStep = None,
    budget_usd: options.BudgetUsd = None,
    deadline: options.Deadline = None,
    confidence: options.Confidence = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the ranking here as JSON.", show_default=False)
    ] = None,
) -> None:
    """Rank fine-tuning configurations by predicted cost to a target, without training any."""
    # torch and ray take seconds to import, --help should not.
    from rich.console import Console

    import raytt
    from raytt.pricing.terms import Terms
    from raytt.probe.settings import as_precision
    from raytt.task.load import load_task
    from raytt.task.target import Target

    terms = Terms.of(
        prices=price or (),
        catalog=catalog,
        gpus=gpus or (),
        efficiency=efficiency,
        seconds_per_step=seconds_per_step or (),
        budget_usd=budget_usd,
        deadline=deadline,
        confidence=confidence,
    )
    wanted = None if target is None else Target.parse(target)
    loaded = load_task(task)
    run_name = name or f"{loaded.task.name}-{datetime.now():%Y%m%d-%H%M%S}"
    try:
        ranking = raytt.rank(
            loaded.task,
            loaded.search_space,
            target=wanted or loaded.target or Target.parse(0.1),
            num_candidates=candidates,
            seed=seed,
            proj_dim=proj_dim,
            samples=samples,
            num_workers=num_workers,
            min_workers=min_workers,
            wait_seconds=wait_seconds,
            use_gpu=use_gpu,
            precision=as_precision(precision),
            max_outputs=max_outputs,
            address=address,
            storage_path=storage_path,
            name=run_name,
            usd_per_hour=usd_per_hour,
            terms=terms,
            max_epochs=max_epochs,
            num_paths=num_paths,
            method=method.value,
            reference_steps=reference_steps,
        )
    except KeyboardInterrupt:
        again = sys.argv[1:] if name else [*sys.argv[1:], "--name", run_name]
        typer.echo(f"\nInterrupted. What is done is kept; to go on:\n\n  raytt {shlex.join(again)}\n", err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    console = Console()
    if console.is_terminal:
        console.print(ranking)
    else:
        typer.echo(str(ranking))
    if json_file is not None:
        ranking.save(json_file)


_COMMANDS = {"budget": budget, "report": report, "export": export, "init": init, "doctor": doctor, "validate": validate}
for _name, _module in _COMMANDS.items():
    app.command(_name, epilog=_module.EXAMPLES)(_module.command)
submit.register(app)


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
