"""Learning rates far above the reference's, predicted and really trained: ``python -m benchmarks.rates.fast``.

Shows from where on predictions are not to be trusted: by the share of noise in the predicted loss, and by how much
nearer to the optimizer's stability limit a learning rate is than the reference's. Takes a minute.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.report import table, write
from raytt.rates.reference import train_as_given
from raytt.rates.smoothing import as_smoothed, first_crossings, smoothed
from raytt.task.candidate import Candidate

from .quality import crossings, measured, walked
from .record import SEED
from .tasks import TASKS, adamw, sgd

KEPT = Path("runs/rates/fast")
NETWORKS = ("small", "layer_norm")
STEPS = 400
RATIOS = (0.5, 0.35)
"""Targets as shares of the initial training loss."""

INTRODUCTION = """Two small networks on digits (`benchmarks.rates.tasks`), one reference run per optimizer, real runs of
another seed. *nearer*: learning rate over the optimizer's stability limit, over that of the reference; *effective*:
effective learning rate over the reference's; *noise*: excess loss over the predicted loss at the second target. Steps
to 0.5 and 0.35 of the initial training loss; `inf`: not within 400 steps. *peak*: highest smoothed loss over the first.

"""


def candidates(optimizer: str) -> list[Candidate]:
    """What is trained."""
    if optimizer == "adamw":
        return [adamw(lr, size, STEPS) for size in (8, 64) for lr in (3e-3, 1e-2, 3e-2, 0.1)]
    plain = [sgd(lr, size, STEPS) for size in (8, 64) for lr in (0.1, 0.3, 1.0)]
    return plain + [sgd(lr, size, STEPS, 0.9) for size in (8, 64) for lr in (0.03, 0.1, 0.3)]


def study(name: str, optimizer: str) -> list[list[Any]]:
    """A row per candidate."""
    mode_task = TASKS[name]()
    found = measured(name, mode_task, optimizer, KEPT)
    reference, chosen = found.family().reference, candidates(optimizer)
    levels = [ratio * reference.initial_loss for ratio in RATIOS]
    way = walked(found, chosen)
    predicted = crossings(as_smoothed(way.losses), levels)
    usual = reference.candidate
    rows = []
    for number, (candidate, steps) in enumerate(zip(chosen, predicted, strict=True)):
        log = train_as_given(mode_task.task, candidate, seed=SEED, steps=STEPS, stop_ratio=0.25)
        curve = smoothed(log.losses)
        real = first_crossings(np.arange(len(curve), dtype=np.float64), curve, levels)
        at = int(min(steps[-1], STEPS))
        shares = [c.optimizer.stability_share(c.lr, 1.0) for c in (candidate, usual)]
        rows.append(
            [
                name,
                str(candidate.config()),
                f"{shares[0] / shares[1]:.1f}",
                f"{candidate.effective_lr / usual.effective_lr:.1f}",
                f"{way.excess[number, at] / way.losses[number, at]:.2f}",
                " / ".join(f"{step:.0f}" for step in steps),
                "diverged" if log.diverged else " / ".join(f"{step:.0f}" for step in real),
                f"{np.max(curve[np.isfinite(curve)]) / curve[0]:.2f}",
            ]
        )
    return rows


def main() -> None:
    """Measure, train, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the dated report")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = [row for name in NETWORKS for optimizer in ("sgd", "adamw") for row in study(name, optimizer)]
    header = ["network", "configuration", "nearer", "effective", "noise", "predicted", "real", "peak"]
    body = INTRODUCTION + table(header, rows) + "\n"
    print(body)
    if arguments.write:
        write("rates-fast", "python -m benchmarks.rates.fast", body, figures=[], json_file=None)


if __name__ == "__main__":
    main()
