"""Predicted steps to a validation accuracy, against real training: ``python -m benchmarks.accuracy.validation``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import table, write

from .measures import Pair, measure, percent
from .predict import Setting, configuration, pair_of, real_arrival, run_prediction, unique
from .record import load_rows
from .tasks import load


def score(name: str, setting: Setting, folder: Path) -> list[list[Any]]:
    """A row of the table per optimizer."""
    rows, goal = load_rows(name), setting.val_accuracy
    assert goal is not None
    prediction, _ = run_prediction(load(name), unique(rows), setting, folder)
    found = prediction.forecasts(setting.target())
    pairs: dict[str, list[Pair]] = {}
    accuracies: dict[str, list[float]] = {}
    for row in rows:
        c = configuration(row)
        f, real = found[c], real_arrival(row, goal)
        pairs.setdefault(c.optimizer.name, []).append(pair_of(row, real, f))
        if f.steps is not None and np.isfinite(real):
            there = float(np.interp(f.steps, row["steps"], row["val_accuracy"]))
            accuracies.setdefault(c.optimizer.name, []).append(abs(there - goal))
    lines = []
    for optimizer, some in sorted(pairs.items()):
        m = measure(some)
        shown = [percent(v) for v in (m.median, m.p90, m.bias, m.within_20, m.coverage, m.recall, m.false_alarms)]
        off = accuracies.get(optimizer)
        lines.append(
            [name, optimizer, f"{goal:.0%}", m.reached, *shown, percent(float(np.median(off))) if off else "–"]
        )
    return lines


def main() -> None:
    """Predict, score, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", default="digits,docstrings")
    parser.add_argument("--proj-dim", type=int, default=2048)
    parser.add_argument("--paths", type=int, default=4)
    parser.add_argument("--stop", type=float, default=0.2)
    parser.add_argument("--runs", type=Path, default=Path("runs/accuracy"))
    parser.add_argument("--json", dest="json_file")
    arguments = parser.parse_args()
    lines: list[list[Any]] = []
    for name in arguments.tasks.split(","):
        goal = load(name).val_accuracy
        setting = Setting(
            proj_dim=arguments.proj_dim, num_paths=arguments.paths, stop_ratio=arguments.stop, val_accuracy=goal
        )
        lines += score(name, setting, arguments.runs)
    header = ["task", "optimizer", "validation accuracy", "runs that get there", "median |err|", "p90", "bias"]
    header += ["≤ 20 %", "90 % covers", "never-reaching named", "false alarms", "accuracy off by (median)"]
    body = (
        "Errors are |ln(predicted/real)| of the steps to that accuracy, in per cent; *accuracy off by*: the real run's "
        "distance from it, in percentage points, at the step predicted. Reference runs stop at "
        f"{arguments.stop:g} of the initial loss.\n\n{table(header, lines)}\n"
    )
    write(
        "accuracy-validation",
        f"python -m benchmarks.accuracy.validation --tasks {arguments.tasks}",
        body,
        figures=[dict(zip(header, line, strict=True)) for line in lines],
        json_file=arguments.json_file,
    )


if __name__ == "__main__":
    main()
