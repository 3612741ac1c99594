"""Few of many outputs against all of them, and against real training: ``python -m benchmarks.many_outputs``.

The task has 120 classes (`benchmarks.modules_task`). All outputs are probed, then fewer, and predictions, the time of
the probe and its files are held against each other. With ``--real`` the configurations are trained, too. Finished parts
are kept under ``--runs`` and not timed again.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.accuracy.predict import THRESHOLDS, Setting, forecasts, run_prediction
from benchmarks.modules_task import NUM_CLASSES, NUM_TRAIN, TASK
from benchmarks.report import table, write
from raytt.forecast.control_variate import first_crossings
from raytt.task.candidate import Candidate
from raytt.training.loop import train

CANDIDATES = [
    Candidate(lr=0.1, batch_size=32, max_steps=300),
    Candidate(lr=0.05, batch_size=16, max_steps=400),
    Candidate(lr=0.01, momentum=0.9, batch_size=32, max_steps=300),
    Candidate(optimizer="adamw", lr=3e-4, batch_size=32, max_steps=300),
    Candidate(optimizer="adamw", lr=1e-4, batch_size=32, max_steps=400),
    Candidate(optimizer="adamw", lr=2e-4, batch_size=16, max_steps=400),
]


def real_steps(candidate: Candidate, folder: Path) -> list[float]:
    """First steps of a real run at the thresholds, kept in the folder; +inf where it ends first."""
    name = re.sub(r"[^a-z0-9.-]+", "-", f"{candidate.optimizer.name}-{candidate.lr:g}-b{candidate.batch_size}")
    file = folder / f"real-{name}-m{candidate.flat().get('momentum', 0.0):g}.json"
    if not file.exists():
        steps = candidate.max_steps or 0
        curve = train(
            TASK.task,
            candidate,
            seed=0,
            steps=steps,
            record_at=sorted({*range(0, 100, 3), *range(100, steps, 10), steps}),
            stop_at_loss_ratio=0.018,
        )
        file.write_text(json.dumps([curve.steps.tolist(), curve.train_loss.tolist()]))
    steps_at, losses = (np.asarray(values, dtype=np.float64) for values in json.loads(file.read_text()))
    found: list[float] = first_crossings(steps_at, losses[None], np.asarray(THRESHOLDS))[0].tolist()
    return found


def predicted(max_outputs: int, folder: Path) -> dict[str, Any]:
    """Steps predicted for each candidate at the thresholds, and what the probe took."""
    setting = Setting(proj_dim=2048, num_paths=4, max_outputs=max_outputs)
    prediction, seconds = run_prediction(TASK, CANDIDATES, setting, folder)
    run = folder / f"{TASK.task.name}-{setting.label()}"
    file = run / "many-outputs.json"
    if not file.exists():
        size = sum(shard.stat().st_size for shard in (run / "probe").rglob("*.arrow"))
        file.write_text(json.dumps({**seconds, "bytes": size}))
    by_ratio = {corrected: forecasts(prediction, corrected=corrected) for corrected in (True, False)}
    steps = {
        corrected: [[_steps(found[ratio][c].steps) for ratio in THRESHOLDS] for c in CANDIDATES]
        for corrected, found in by_ratio.items()
    }
    return {
        "corrected": np.array(steps[True]),
        "plain": np.array(steps[False]),
        "loss": prediction.statistics.mean_loss,
        "sharpness": {family: trust.sharpness for family, trust in prediction.trust.items()},
        **json.loads(file.read_text()),
    }


def _steps(value: float | None) -> float:
    return np.inf if value is None else float(value)


def _errors(found: NDArray[Any], truth: NDArray[Any]) -> NDArray[Any]:
    """ln(found/truth) in per cent, where both are finite."""
    both = np.isfinite(found) & np.isfinite(truth) & (truth > 0.0)
    return np.asarray(100.0 * np.log(found[both] / truth[both]))


def _cells(errors: NDArray[Any]) -> list[str]:
    if len(errors) == 0:
        return ["–"] * 3
    return [f"{np.median(np.abs(errors)):.1f}", f"{np.percentile(np.abs(errors), 90):.1f}", f"{errors.mean():+.1f}"]


def main() -> None:
    """Predict, compare, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--outputs", default="16,24,32", help="outputs per sample, besides all of them")
    parser.add_argument("--real", action="store_true", help="also train the configurations")
    parser.add_argument("--runs", type=Path, default=Path("runs/many-outputs"))
    parser.add_argument("--json", dest="json_file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    counts = [*(int(k) for k in arguments.outputs.split(",")), NUM_CLASSES]
    found = {k: predicted(k, arguments.runs) for k in counts}
    real = np.array([real_steps(c, arguments.runs) for c in CANDIDATES]) if arguments.real else None
    body, figures = report(found, real)
    command = f"python -m benchmarks.many_outputs --outputs {arguments.outputs}" + " --real" * arguments.real
    write("many-outputs", command, body, figures=figures, json_file=arguments.json_file)


def report(found: dict[int, dict[str, Any]], real: NDArray[Any] | None) -> tuple[str, list[dict[str, Any]]]:
    """Tables and figures."""
    exact = found[NUM_CLASSES]
    families = [np.array([c.optimizer.name == family for c in CANDIDATES]) for family in ("sgd", "adamw")]
    lines, figures = [], []
    for k, each in found.items():
        seconds = each["probe"] + each["tangents"]
        against = [_errors(each["corrected"][rows], exact["corrected"][rows]) for rows in families]
        cells = [cell for errors in against for cell in _cells(errors)]
        whole = exact["probe"] + exact["tangents"]
        sharp = [each["sharpness"][f] / exact["sharpness"][f] for f in ("sgd", "adamw")]
        lines.append([str(k), f"{seconds:.0f}", f"{whole / seconds:.1f}", f"{each['bytes'] / 2**20:.0f}"])
        lines[-1] += [f"{each['loss']:.3f}", " / ".join(f"{s:.2f}" for s in sharp), *cells]
        figures.append(
            {
                "outputs": k,
                "seconds": seconds,
                "mib": each["bytes"] / 2**20,
                **{
                    f"{family}_median": float(np.median(np.abs(errors)))
                    for family, errors in zip(("sgd", "adamw"), against, strict=True)
                },
            }
        )
    header = ["outputs per sample", "probe at all tangents, s", "all/this", "rows, MiB", "initial loss"]
    header += ["sharpness over that of all, SGD / AdamW"]
    header += [f"{f} {name}" for f in ("SGD", "AdamW") for name in ("median", "p90", "bias")]
    body = (
        f"{NUM_CLASSES} classes, {NUM_CLASSES * NUM_TRAIN} samples, {len(CANDIDATES)} candidates, thresholds "
        f"{', '.join(map(str, THRESHOLDS))} of the initial loss. Differences of predicted steps from those with all "
        f"outputs, |ln| in per cent, corrected by the reference run like any prediction.\n\n{table(header, lines)}\n\n"
        "By threshold, mean difference in per cent with and without that correction:\n\n"
    )
    rows: list[Sequence[str]] = []
    for k, each in found.items():
        for kind in ("corrected", "plain"):
            if k < NUM_CLASSES:
                means = [_errors(each[kind][:, t], exact[kind][:, t]) for t in range(len(THRESHOLDS))]
                rows.append([str(k), kind, *(f"{m.mean():+.0f}" if len(m) else "–" for m in means)])
    body += table(["outputs", "", *map(str, THRESHOLDS)], rows) + "\n"
    if real is not None:
        against_real = [
            [str(k), *(c for r in families for c in _cells(_errors(each["corrected"][r], real[r])))]
            for k, each in found.items()
        ]
        header = ["outputs", *(f"{f} {n}" for f in ("SGD", "AdamW") for n in ("median", "p90", "bias"))]
        body += f"\nAgainst real training, |ln| in per cent:\n\n{table(header, against_real)}\n"
    return body, figures


if __name__ == "__main__":
    main()
