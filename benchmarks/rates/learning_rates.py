"""How errors of predicted steps depend on the learning rate: ``python -m benchmarks.rates.learning_rates``.

Notation: η effective learning rate of a candidate where it meets a level, η_ref the reference run's, T predicted steps.

Real runs are those of `benchmarks.rates.record`, reference runs and rates those of `benchmarks.rates.quality`. Walks
are slowed by (η/η_ref)^p in each step (`raytt.forecast.family_rates.SLOWING`). Beside them, with p = 0, stands
T + δ (1 − η_ref/η): steps that are lost whatever the learning rate, as to the memory of an optimizer.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.report import table
from raytt.rates.slowing import Slowing
from raytt.rates.smoothing import as_smoothed, first_crossings, smoothed
from raytt.rates.walk import walk

from .quality import KEPT, TRAINING_RATIOS, _lengths, crossings, measured
from .record import SEED, load_curve
from .tasks import TASKS

Floats = NDArray[np.float64]
POWERS = (0.0, 0.1, 0.2, 0.3)
LOST = (1.0, 2.0, 4.0, 8.0)


def errors(name: str, optimizer: str, kept: Path, slowing: float) -> tuple[Floats, Floats, Floats]:
    """Predicted and real steps, and η/η_ref, of all that was both reached and predicted to be."""
    mode_task = TASKS[name]()
    family = measured(name, mode_task, optimizer, kept).family()
    base = family.reference.candidate
    known = [(c, load_curve(name, c, SEED)) for c in mode_task.candidates[optimizer]]
    recorded = [(c, curve["losses"]) for c, curve in known if curve is not None]
    levels = [ratio * family.reference.initial_loss for ratio in TRAINING_RATIOS]
    real = np.stack([first_crossings(np.arange(len(x), dtype=np.float64), smoothed(x), levels) for _, x in recorded])
    candidates = [c for c, _ in recorded]
    budgets = _lengths(candidates)
    way = walk(family.reference.path(), family.table()[0], candidates, budgets, slowing=Slowing(usual=slowing))
    predicted = crossings(as_smoothed(way.losses), levels)
    shares = np.ones_like(predicted)
    for row, (candidate, budget) in enumerate(zip(candidates, budgets, strict=True)):
        rates = candidate.effective_rates(budget)
        at = np.where(np.isfinite(predicted[row]), predicted[row], 0.0).astype(int)
        # A schedule's end and a warm-up's begin are no learning rates to speak of.
        shares[row] = np.maximum(rates[np.minimum(at, budget - 1)] / base.effective_lr, 0.1)
    good = np.isfinite(predicted) & np.isfinite(real) & (real > 0.0) & (predicted > 0.0)
    return predicted[good], real[good], shares[good]


def main() -> None:
    """Score."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--kept", type=Path, default=KEPT)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[list[Any]] = []
    for name in arguments.tasks.split(","):
        for optimizer in TASKS[name]().references:
            ways = {f"p = {p:g}": errors(name, optimizer, arguments.kept, p) for p in POWERS}
            predicted, real, shares = ways["p = 0"]
            for lost in LOST:
                ways[f"δ = {lost:g}"] = np.maximum(predicted + lost * (1.0 - 1.0 / shares), 0.5), real, shares
            for way, (steps, real, shares) in ways.items():
                found = np.log(steps / real)
                tie = float(np.corrcoef(np.log(shares), found)[0, 1])
                scores = (np.median(np.abs(found)), np.quantile(np.abs(found), 0.9), found.mean(), tie)
                rows.append([name, optimizer, way, len(found), *(f"{score:+.3f}" for score in scores)])
    print(table(["task", "optimizer", "correction", "crossings", "median", "90th", "bias", "tie to ln η"], rows))


if __name__ == "__main__":
    main()
