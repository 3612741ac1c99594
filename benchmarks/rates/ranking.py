"""Rankings of recorded runs beside training every candidate for some epochs: ``python -m benchmarks.rates.ranking``.

Truth: samples that each configuration's real run took to a share of the initial training loss (training time, but for
what a sample of a small minibatch costs more). Rivals train every candidate for k epochs and rank by the smoothed loss
there. Costs are samples too: forward and backward passes of the reference run and of all minibatches of the rates, or k
epochs of every candidate, over the samples that training all to the target takes. Measurements are those of
`benchmarks.rates.quality`.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from benchmarks.report import table, write
from raytt.rates.smoothing import as_smoothed, first_crossing, smoothed
from raytt.training.datasets import open_dataset
from raytt.workflows.anytime_rates import FEWEST

from .quality import BATCH_SIZES, MINIBATCHES, Measured, crossings, followed, trusted
from .record import SEED, load_curve
from .tasks import TASKS, ModeTask

Floats = NDArray[np.float64]
TARGETS = (0.5, 0.35)
"""Shares of the initial training loss."""
EPOCHS = (1, 2, 5)
FIRST = 5


def rows_of(name: str, mode_task: ModeTask, optimizer: str, found: Measured, target: float) -> list[list[Any]]:
    """A row per way of ranking; none where fewer than four runs are recorded."""
    family = found.family()
    known = [(c, load_curve(name, c, SEED)) for c in mode_task.candidates[optimizer]]
    runs = [(c, smoothed(curve["losses"])) for c, curve in known if curve is not None]
    if len(runs) < 4:
        return []
    candidates, curves = [c for c, _ in runs], [curve for _, curve in runs]
    sizes = np.array([c.batch_size for c in candidates], dtype=np.float64)
    budgets = [c.max_steps or 0 for c in candidates]
    level = target * family.reference.initial_loss
    real = np.array([first_crossing(np.arange(len(x), dtype=np.float64), x, level) for x in curves]) * sizes
    whole = np.array(budgets) * sizes
    total = float(np.where(np.isfinite(real), real, whole).sum())
    walked = family.walk(candidates, budgets)
    predicted = crossings(as_smoothed(walked.losses), [level])[:, 0] * sizes
    missed = whole.max() * np.maximum(as_smoothed(walked.losses)[:, -1] / level, 1.0)
    own = MINIBATCHES * len(family.own) * sum(BATCH_SIZES) + len(found.log.losses) * found.log.candidate.batch_size
    if found.second is not None:
        base = found.second.reference.candidate.batch_size
        own += base * (len(found.second.reference.losses) + FEWEST * len(found.second.reference.point_steps))
    scores = np.where(np.isfinite(predicted), predicted, missed)
    kept = trusted(family, candidates)
    ranked: list[tuple[str, Floats, float]] = [("raytt" if kept.any() else "raytt (untrusted)", scores, own)]
    if kept.any() and not kept.all():
        ranked.append(("raytt, trusted first", np.where(kept, scores, scores + scores.max()), own))
    samples = len(open_dataset(mode_task.task.data, mode_task.task))  # type: ignore[arg-type]
    for epochs in EPOCHS:
        at = [min(round(epochs * samples / b), len(x) - 1) for b, x in zip(sizes, curves, strict=True)]
        losses = np.array([float(x[step]) for x, step in zip(curves, at, strict=True)])
        ranked.append((f"{epochs} epochs each", losses, float(sum(a * b for a, b in zip(at, sizes, strict=True)))))
    return [
        [name, optimizer, target, way, *_scores(scores, real, whole), f"{cost / total:.0%}"]
        for way, scores, cost in ranked
    ]


def _scores(scores: Floats, real: Floats, whole: Floats) -> list[str]:
    """Spearman with the truth, what the first costs over the best, and how many of the `FIRST` best are among the first
    so many; runs that did not arrive stand last.
    """
    truth = np.where(np.isfinite(real), real, 10.0 * whole.max())
    first = float(truth[int(np.argmin(scores))] / truth.min()) - 1.0
    found = "∞" if not np.isfinite(real[int(np.argmin(scores))]) else f"{first:.0%}"
    top = len(set(np.argsort(scores, kind="stable")[:FIRST]) & set(np.argsort(truth, kind="stable")[:FIRST]))
    # Where no run arrived there is nothing to rank.
    same = len(set(truth)) < 2
    return ["–" if same else f"{float(spearmanr(scores, truth).statistic):.2f}", found, f"{top} of {FIRST}"]


def _mean(rows: list[list[Any]], where: str, way: str) -> list[Any]:
    """Over all rankings by one way; *trusted first* only where some are untrusted and some are not."""
    own = [row for row in rows if row[3].partition(" (")[0] == way and row[4] != "–"]
    if not own:
        return [where, way, 0, *["–"] * 4]
    spearman = float(np.mean([float(row[4]) for row in own]))
    best, never = (sum(row[5] == text for row in own) for text in ("0%", "∞"))
    cost = float(np.median([float(row[7].rstrip("%")) for row in own]))
    return [where, way, len(own), f"{spearman:.2f}", best, never, f"{cost:.0f}%"]


def main() -> None:
    """Score, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", default=",".join(name for name in TASKS if name != "slow_norms"))
    parser.add_argument("--write", action="store_true", help="write the dated report")
    parser.add_argument("--name", default="rates-ranking", help="of the report")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[list[Any]] = []
    for name in arguments.tasks.split(","):
        mode_task = TASKS[name]()
        for optimizer in mode_task.references:
            found = followed(name, mode_task, optimizer)
            for target in TARGETS:
                rows += rows_of(name, mode_task, optimizer, found, target)
    header = ["task", "optimizer", "target", "ranked by", "Spearman", "regret of the first", "of the best", "cost"]
    known = {tuple(row[:3]) for row in rows if row[3] == "raytt"}
    parts = {"trusted": [row for row in rows if tuple(row[:3]) in known]}
    parts["untrusted"] = [row for row in rows if tuple(row[:3]) not in known]
    ways = list(dict.fromkeys(row[3].partition(" (")[0] for row in rows))
    ranked = {where: part for where, part in parts.items() if any(row[4] != "–" for row in part)}
    means = [_mean(part, where, way) for where, part in ranked.items() for way in ways]
    body = (
        "Eight configurations a row, sixteen of the examples, 32 of LoRA. *of the best*: how many of the five that "
        "really are the cheapest are among the first five. *cost*: over training all to the target; with more "
        "configurations raytt's stays what it is, that of the others grows in proportion.\n\n"
        + table(
            [
                "where raytt's forecasts are",
                "ranked by",
                "rankings",
                "mean Spearman",
                "regret 0",
                "never arrives",
                "median cost",
            ],
            means,
        )
        + "\n\n"
        + table(header, rows)
        + "\n"
    )
    print(body)
    if arguments.write:
        write(
            arguments.name,
            f"python -m benchmarks.rates.ranking --tasks {arguments.tasks}",
            body,
            figures=[],
            json_file=None,
        )


if __name__ == "__main__":
    main()
