"""Export of a ranking: CSV, Parquet, and, where they are installed, MLflow and TensorBoard."""

from __future__ import annotations

import csv
import importlib
import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from raytt.errors import InputError
from raytt.results.finished_run import FinishedRun
from raytt.results.ranking import Ranking
from raytt.store.text_files import write_text
from raytt.task.candidate import table
from raytt.training.arrow_dataset import write_parquet

Cell = str | int | float | bool | None


def rows(ranking: Ranking) -> list[dict[str, Cell]]:
    """One row per candidate: rank, every hyperparameter that one of them has, and the numbers of `Ranking.to_json`."""
    numbers = ranking.to_json()["candidates"]
    return [
        {
            "rank": entry.rank,
            **{name: _cell(value) for name, value in settings.items()},
            **{name: value for name, value in found.items() if name not in ("rank", "config")},
        }
        for entry, settings, found in zip(
            ranking.entries, table([entry.candidate for entry in ranking.entries]), numbers, strict=True
        )
    ]


def to_csv(ranking: Ranking, path: str | Path) -> None:
    """Write comma-separated values with a line of names; what is not known stays empty."""
    table = rows(ranking)
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(table[0]) if table else ["rank"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    write_text(path, out.getvalue())


def to_parquet(ranking: Ranking, path: str | Path) -> None:
    """Write a Parquet file with the columns of `to_csv`."""
    write_parquet(path, rows(ranking))


def to_tensorboard(run: FinishedRun, folder: str | Path) -> None:
    """Write a log per candidate: its hyperparameters with the predicted numbers, and its predicted curves.

    Raises:
        InputError: If tensorboardX is not installed.
    """
    writer_class = _optional("tensorboardX", "tensorboardX").SummaryWriter
    for entry, row in zip(run.ranking.entries, rows(run.ranking), strict=True):
        name = f"{entry.rank:03d}"
        with writer_class(str(Path(folder) / run.name / name)) as writer:
            settings = {k: v for k, v in entry.candidate.flat().items() if isinstance(v, str | bool | int | float)}
            writer.add_hparams(settings, {f"predicted/{k}": v for k, v in _metrics(row).items()}, name="hparams")
            band = run.band(entry.candidate)
            for quantity, (_, median, _) in ({} if band is None else band.curves).items():
                for step, value in zip(band.steps if band is not None else (), median, strict=True):
                    if math.isfinite(value):
                        writer.add_scalar(f"predicted/{quantity}", float(value), int(step))


def to_mlflow(run: FinishedRun, tracking_uri: str) -> None:
    """Log an experiment named for the task, with a run per candidate: parameters, predicted numbers, status.

    Raises:
        InputError: If MLflow is not installed.
    """
    client_class = _optional("mlflow.tracking", "mlflow-skinny").MlflowClient
    client = client_class(tracking_uri=tracking_uri)
    name = f"raytt/{run.ranking.task}"
    found = client.get_experiment_by_name(name)
    experiment = client.create_experiment(name) if found is None else found.experiment_id
    for entry, row in zip(run.ranking.entries, rows(run.ranking), strict=True):
        tags = {
            "raytt.run": run.name,
            "raytt.status": entry.forecast.status.value,
            "raytt.task.target": str(run.ranking.target),
        }
        logged = client.create_run(experiment, run_name=f"{run.name} rank {entry.rank}", tags=tags).info.run_id
        for key, value in entry.candidate.flat().items():
            if value is not None:
                client.log_param(logged, key, value)
        for key, number in _metrics(row).items():
            client.log_metric(logged, f"predicted_{key}", number)
        client.set_terminated(logged)


_METRICS = (
    "steps",
    "steps_low",
    "steps_high",
    "epochs",
    "seconds",
    "usd",
    "accuracy",
    "val_accuracy",
    "peak_memory_bytes",
)


def _metrics(row: Mapping[str, Cell]) -> dict[str, float]:
    found = {"rank": row["rank"], **{name: row[name] for name in _METRICS}}
    return {name: float(value) for name, value in found.items() if isinstance(value, int | float)}


def _cell(value: Any) -> Cell:
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def _optional(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"This export needs the package {package}, which is not installed.", f"Run: pip install {package}"
        ) from error
