"""Really trains the configurations of a task and keeps their curves: ``python -m benchmarks.accuracy.record TASK``.

Resumable: finished runs are skipped, and the task's Parquet file is rewritten after each run. One thread per process.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from raytt.training.datasets import choose_subsample, open_dataset
from raytt.training.loop import TrainingCurve, train

from .configurations import Run, runs
from .tasks import RecordTask, load

CURVES = Path(__file__).parent / "curves"


def record_grid(steps: int) -> list[int]:
    """Steps at which losses are evaluated: all up to 6, then 15 % apart, 20 % from 100 on."""
    grid = [*range(7)]
    while grid[-1] < steps:
        grid.append(min(steps, max(grid[-1] + 1, round(grid[-1] * (1.15 if grid[-1] < 100 else 1.2)))))
    return grid


def eval_index(record_task: RecordTask) -> NDArray[np.int64] | None:
    """Positions of the training samples on which the loss is evaluated; None: all."""
    if record_task.eval_samples is None:
        return None
    count = len(open_dataset(record_task.task.data, record_task.task))  # type: ignore[arg-type]
    return choose_subsample(count, record_task.eval_samples, 12345)


def key(run: Run) -> str:
    """Identity of a run within its task."""
    return json.dumps({**run.candidate.config(), "seed": run.seed}, sort_keys=True)


def rows_of(run: Run, curve: TrainingCurve, seconds: float) -> dict[str, Any]:
    """One row of the Parquet file."""

    def floats(values: Any) -> list[float] | None:
        return None if values is None else [float(v) for v in values]

    return {
        "run": key(run),
        "config": json.dumps(run.candidate.config(), sort_keys=True),
        "seed": run.seed,
        "diverged": bool(curve.diverged),
        "seconds": seconds,
        "seconds_per_step": float(curve.seconds_per_step),
        "steps": [int(s) for s in curve.steps],
        "train_loss": floats(curve.train_loss),
        "train_accuracy": floats(curve.train_accuracy),
        "val_loss": floats(curve.val_loss),
        "val_accuracy": floats(curve.val_accuracy),
    }


def load_rows(name: str) -> list[dict[str, Any]]:
    """The runs recorded so far."""
    file = CURVES / f"{name}.parquet"
    rows: list[dict[str, Any]] = pq.read_table(file).to_pylist() if file.exists() else []
    return rows


def save_rows(name: str, rows: list[dict[str, Any]]) -> None:
    """Replace the task's file at once, so that an interruption loses no finished run."""
    CURVES.mkdir(exist_ok=True)
    schema = pa.schema(
        [
            ("run", pa.string()),
            ("config", pa.string()),
            ("seed", pa.int64()),
            ("diverged", pa.bool_()),
            ("seconds", pa.float64()),
            ("seconds_per_step", pa.float64()),
            ("steps", pa.list_(pa.int32())),
            *((n, pa.list_(pa.float32())) for n in ("train_loss", "train_accuracy", "val_loss", "val_accuracy")),
        ]
    )
    partial = CURVES / f"{name}.parquet.partial"
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), partial, compression="zstd")
    os.replace(partial, CURVES / f"{name}.parquet")


def main() -> None:
    """Train what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task")
    parser.add_argument("--most", type=int, default=1000, help="stop after so many runs")
    parser.add_argument("--optimizer", help="only runs of this one")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    record_task = load(arguments.task)
    rows = load_rows(arguments.task)
    done = {row["run"] for row in rows}
    wanted = [r for r in runs(record_task) if key(r) not in done]
    if arguments.optimizer is not None:
        wanted = [r for r in wanted if r.candidate.optimizer.name == arguments.optimizer]
    for number, run in enumerate(wanted[: arguments.most], start=1):
        steps = run.candidate.max_steps
        assert steps is not None
        begin = time.perf_counter()
        curve = train(
            record_task.task,
            run.candidate,
            seed=run.seed,
            steps=steps,
            record_at=record_grid(steps),
            eval_index=eval_index(record_task),
            stop_at_loss_ratio=0.018,
        )
        seconds = time.perf_counter() - begin
        rows.append(rows_of(run, curve, seconds))
        save_rows(arguments.task, rows)
        ratio = float(np.asarray(curve.train_loss)[-1] / np.asarray(curve.train_loss)[0])
        print(
            f"{number}/{len(wanted)} {key(run)} {curve.steps[-1]} steps ratio {ratio:.3f} {seconds:.0f} s", flush=True
        )


if __name__ == "__main__":
    main()
