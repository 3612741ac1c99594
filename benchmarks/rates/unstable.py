"""Of the configurations that a ranking calls unstable, how many are: ``python -m benchmarks.rates.unstable``.

Search spaces that reach far above what trains are ranked with pilots, as `raytt.rank` does by default, and every
candidate that is called unstable, and as many others as there are, is then really trained with another seed to the end
of its budget. A run fails if it diverges or ends with a smoothed loss above its first.

``--climbs``: what a loss above its start after some steps says of the end, of configurations from `HIGH` upwards.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import raytt
from benchmarks.report import table, write
from raytt.forecast.forecast import Status
from raytt.rates.reference import train_as_given
from raytt.rates.smoothing import smoothed
from raytt.settings.estimator import EstimatorSettings
from raytt.task.candidate import Candidate

from .tasks import TASKS

Floats = NDArray[np.float64]
NUMBER, STEPS = 40, 150
"""Candidates of a ranking, and the budget of each."""
RANGES = {"sgd": (0.02, 50.0), "adamw": (3e-4, 3.0)}
"""Learning rates, from what trains to what cannot."""
HIGH = {"sgd": 0.3, "adamw": 0.01}
"""Learning rates from which on runs are looked at by ``--climbs``."""
LOOKS = (10, 20, 50, 100, 149)
SEED = 1


def candidates(optimizer: str) -> list[dict[str, Any]]:
    """Drawn evenly over ln lr."""
    draws, (low, high) = np.random.default_rng(3), (math.log(bound) for bound in RANGES[optimizer])
    return [
        {
            "optimizer": optimizer,
            "lr": float(f"{math.exp(low + (high - low) * (n + draws.uniform()) / NUMBER):.3g}"),
            "batch_size": int(draws.choice([8, 16, 32])),
            "schedule": str(draws.choice(["constant", "cosine"])),
            "warmup_steps": int(draws.choice([0, 10])),
            "max_steps": STEPS,
        }
        for n in range(NUMBER)
    ]


def fails(task: raytt.Task, candidate: Candidate, doubts: Sequence[str]) -> bool:
    """Whether a real run diverges or ends above its start; prints what it did and what was said of it."""
    log = train_as_given(task, candidate, seed=SEED, steps=STEPS)
    curve = smoothed(log.losses)
    end = "diverged" if log.diverged else f"{curve[-1] / curve[0]:.2f} of its first loss"
    print("   ", candidate.config(), end, "|", "; ".join(doubts), flush=True)
    return log.diverged or bool(curve[-1] > curve[0])


def row(name: str, optimizer: str, pilots: int | None) -> list[Any]:
    """One ranking."""
    task = TASKS[name]().task
    ranking = raytt.rank(
        task,
        candidates(optimizer),
        target=0.6,
        num_candidates=NUMBER,
        estimator=EstimatorSettings(pilots=pilots),
    )
    called = [entry for entry in ranking.entries if entry.forecast.status is Status.UNSTABLE]
    trusted = [entry for entry in ranking.entries if entry.forecast.status is Status.REACHED]
    print(name, optimizer, "called unstable", flush=True)
    really = sum(fails(task, entry.candidate, entry.forecast.doubts) for entry in called)
    print(name, optimizer, "called reached", flush=True)
    wrong = sum(fails(task, entry.candidate, entry.forecast.doubts) for entry in trusted)
    share = f"{really / len(called):.0%}" if called else "–"
    return [name, optimizer, len(called), really, share, len(trusted), wrong]


def climbs(names: Sequence[str]) -> str:
    """The table of `LOOKS`."""
    rows: list[list[Any]] = []
    for optimizer, lowest in HIGH.items():
        runs = []
        for name in names:
            task = TASKS[name]().task
            known = [Candidate.from_config(config) for config in candidates(optimizer)]
            runs += [
                train_as_given(task, c, seed=SEED, steps=STEPS, most_rise=math.inf) for c in known if c.lr >= lowest
            ]
        whole = [log.losses for log in runs]
        fails = [len(x) < STEPS or not np.isfinite(x).all() or bool(smoothed(x)[-1] > smoothed(x)[0]) for x in whole]
        for look in LOOKS:
            curves = [smoothed(x[:look]) if _lasts(x, look) else None for x in whole]
            counts: list[int] = []
            for least in (1.0, 10.0):
                above = [curve is not None and bool(curve[-1] > least * curve[0]) for curve in curves]
                counts += [sum(above), sum(up and fail for up, fail in zip(above, fails, strict=True))]
            rows.append([optimizer, len(runs), look, sum(curve is None for curve in curves), *counts])
    header = ["optimizer", "runs", "after steps", "infinite by then", "above their start", "of these fail"]
    header += ["above 10 times it", "of these fail"]
    return table(header, rows)


def _lasts(losses: Floats, look: int) -> bool:
    return len(losses) >= look and bool(np.isfinite(losses[:look]).all())


def main() -> None:
    """Rank, train, count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", default="layer_norm,small")
    parser.add_argument("--optimizers", default=",".join(RANGES))
    parser.add_argument("--pilots", type=int, default=6)
    parser.add_argument("--climbs", action="store_true", help="print the other table")
    parser.add_argument("--write", action="store_true", help="write the dated report")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.climbs:
        print(climbs(arguments.tasks.split(",")))
        return
    rows = [
        row(n, optimizer, arguments.pilots)
        for n in arguments.tasks.split(",")
        for optimizer in arguments.optimizers.split(",")
    ]
    header = ["task", "optimizer", "called unstable", "really fail", "share", "called reached", "of these fail"]
    body = (
        f"{NUMBER} configurations a row, {STEPS} steps each, {arguments.pilots} pilots; learning rates "
        + ", ".join(f"{name} {low:g} to {high:g}" for name, (low, high) in RANGES.items())
        + ".\n\n"
        + table(header, rows)
        + "\n"
    )
    print(body)
    if arguments.write:
        command = f"python -m benchmarks.rates.unstable --tasks {arguments.tasks} --pilots {arguments.pilots}"
        write("rates-unstable", command, body, figures=[], json_file=None)


if __name__ == "__main__":
    main()
