"""The training-free prediction against real training: ``python -m benchmarks.training_free``.

Predicts every SGD configuration of the record (`benchmarks.accuracy`) of the two examples from one tangent at the
pre-trained weights, and sets steps to several thresholds beside those of the real runs. The seeds of the simulated
minibatches are not those of the real runs.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from typing import Any

import numpy as np
from scipy.stats import kendalltau

import raytt
from benchmarks.accuracy.record import load_rows
from benchmarks.accuracy.tasks import load
from benchmarks.report import table, write

RATIOS = (0.5, 0.2, 0.1)


def real_crossing(row: dict[str, Any], ratio: float) -> float | None:
    """First step with a real training loss of at most ``ratio`` × the initial one, log-linear between records."""
    loss = np.maximum(np.asarray(row["train_loss"], dtype=np.float64) / row["train_loss"][0], 1e-30)
    below = np.flatnonzero(loss <= ratio)
    if len(below) == 0:
        return None
    i = int(below[0])
    share = (math.log(loss[i - 1]) - math.log(ratio)) / (math.log(loss[i - 1]) - math.log(loss[i]))
    return float(row["steps"][i - 1] + share * (row["steps"][i] - row["steps"][i - 1]))


def main() -> None:
    """Predict, compare, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", default="digits,docstrings")
    parser.add_argument("--json", dest="json_file")
    arguments = parser.parse_args()
    body, figures = "", []
    for name in arguments.tasks.split(","):
        record_task = load(name)
        rows = [r for r in load_rows(name) if r["seed"] == 0 and json.loads(r["config"])["optimizer"] == "sgd"]
        configs = [json.loads(row["config"]) for row in rows]
        predicted: dict[float, dict[str, Any]] = {}
        with tempfile.TemporaryDirectory() as folder:
            for ratio in RATIOS:
                ranking = raytt.rank(
                    record_task.task,
                    configs,
                    target=ratio,
                    seed=1,
                    estimator=raytt.EstimatorSettings(reference_steps=0),
                    run=raytt.RunSettings(storage_path=folder, name="record"),
                )
                listed = ranking.to_json()["candidates"]
                predicted[ratio] = {json.dumps(c["config"], sort_keys=True): c for c in listed}
        lines: list[list[Any]] = []
        pairs: dict[float, list[tuple[float, float]]] = {ratio: [] for ratio in RATIOS}
        for row, config in zip(rows, configs, strict=True):
            cells = []
            for ratio in RATIOS:
                found = predicted[ratio][json.dumps(config, sort_keys=True)]
                real = real_crossing(row, ratio)
                steps = found["steps"]
                if real is not None and steps is not None and real >= 1:
                    pairs[ratio].append((max(steps, 1.0), real))
                shown = ("diverges" if row["diverged"] else "never") if real is None else f"{real:.0f}"
                doubt = " untrusted" if found["status"] == "untrusted" else ""
                cells.append(f"{shown} / {found['status'] if steps is None else f'{steps:.0f}{doubt}'}")
                figures.append({"task": name, "config": config, "ratio": ratio, "real": real, "predicted": steps})
            lines.append([json.dumps({k: v for k, v in config.items() if k not in ("optimizer", "max_steps")}), *cells])
        body += f"\n## {name}: steps, real / predicted\n\n"
        body += table(["configuration", *(f"to {r:g} of the initial loss" for r in RATIOS)], lines) + "\n\n"
        summary = []
        for ratio in RATIOS:
            if len(pairs[ratio]) > 1:
                steps, real_steps = np.asarray(pairs[ratio]).T
                logs = np.log(steps / real_steps)
                low, high = np.exp(np.median(np.abs(logs))), np.exp(np.max(np.abs(logs)))
                tau = float(kendalltau(steps, real_steps).statistic)
                bias = f"× {np.exp(np.mean(logs)):.2f}"
                summary.append([ratio, len(logs), f"× {low:.2f}", f"× {high:.2f}", bias, f"{tau:.2f}"])
        header = [
            "threshold",
            "both reach",
            "median error",
            "largest error",
            "mean bias (predicted / real)",
            "Kendall τ of steps",
        ]
        body += table(header, summary) + "\n"
    write(
        f"training-free-{arguments.tasks.replace(',', '-')}",
        f"python -m benchmarks.training_free --tasks {arguments.tasks}",
        body,
        figures=figures,
        json_file=arguments.json_file,
    )


if __name__ == "__main__":
    main()
