"""``raytt export``: a finished run for other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from raytt.cli import options

EXAMPLES = """
[bold]Examples[/bold]

raytt export runs/mine --csv ranking.csv --parquet ranking.parquet

raytt export runs/mine --tensorboard logs --mlflow http://localhost:5000

raytt export runs/mine --axolotl best.yaml --rank 1
"""


def command(
    run: options.RunPlace,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Write comma-separated values.")] = None,
    parquet: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a Parquet file.")] = None,
    tensorboard: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write TensorBoard logs with the predicted curves.")
    ] = None,
    mlflow: Annotated[str | None, typer.Option(metavar="URI", help="Log to an MLflow tracking server.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the ranking as JSON.")] = None,
    training_arguments: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a configuration as JSON for transformers.")
    ] = None,
    axolotl: Annotated[Path | None, typer.Option(metavar="FILE", help="Write it as YAML for axolotl.")] = None,
    llama_factory: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write it as YAML for LLaMA-Factory.")
    ] = None,
    rank: Annotated[int, typer.Option(metavar="N", help="Which configuration that is: its rank.")] = 1,
) -> None:
    """Write a finished run as CSV, Parquet or JSON, or to TensorBoard or MLflow where those are installed.

    Or one of its configurations, the first if --rank does not say otherwise, in the form in which a training program
    reads it.
    """
    from raytt.adapters import configuration_files
    from raytt.errors import InputError
    from raytt.report import export
    from raytt.results.finished_run import load_run

    files = {"training_arguments": training_arguments, "axolotl": axolotl, "llama_factory": llama_factory}
    targets = (csv, parquet, tensorboard, mlflow, json_file, *files.values())
    if all(target is None for target in targets):
        raise InputError(
            "Nothing to export to.",
            "Give --csv, --parquet, --tensorboard, --mlflow, --json, --training-arguments, --axolotl or "
            "--llama-factory.",
        )
    found = load_run(run)
    if csv is not None:
        export.to_csv(found.ranking, csv)
    if parquet is not None:
        export.to_parquet(found.ranking, parquet)
    if tensorboard is not None:
        export.to_tensorboard(found, tensorboard)
    if mlflow is not None:
        export.to_mlflow(found, mlflow)
    if json_file is not None:
        found.ranking.save(json_file)
    for form, file in files.items():
        if file is not None:
            configuration_files.write(found.ranking, form, file, rank=rank)
    typer.echo("\n".join(str(target) for target in targets if target is not None))
