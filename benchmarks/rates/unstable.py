"""Of the configurations that a ranking calls unstable, how many are: ``python -m benchmarks.rates.unstable``.

Search spaces that reach far above what trains are ranked with pilots, as `raytt.rank` does by default, and every
candidate that is called unstable, and as many others as there are, is then really trained with another seed to the end
of its budget. A run fails if it diverges or ends with a smoothed loss above its first.
"""

from __future__ import annotations

import argparse
import math
from typing import Any

import numpy as np
import torch

import raytt
from benchmarks.report import table, write
from raytt.forecast.forecast import Status
from raytt.rates.reference import train_as_given
from raytt.rates.smoothing import smoothed
from raytt.settings.estimator import EstimatorSettings
from raytt.task.candidate import Candidate

from .tasks import TASKS

NUMBER, STEPS = 40, 150
"""Candidates of a ranking, and the budget of each."""
RANGES = {"sgd": (0.02, 50.0), "adamw": (3e-4, 3.0)}
"""Learning rates, from what trains to what cannot."""
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


def fails(task: raytt.Task, candidate: Candidate) -> bool:
    """Whether a real run diverges or ends above its start."""
    log = train_as_given(task, candidate, seed=SEED, steps=STEPS)
    curve = smoothed(log.losses)
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
    called = [entry.candidate for entry in ranking.entries if entry.forecast.status is Status.UNSTABLE]
    trusted = [entry.candidate for entry in ranking.entries if entry.forecast.status is Status.REACHED]
    really = sum(fails(task, candidate) for candidate in called)
    wrong = sum(fails(task, candidate) for candidate in trusted)
    share = f"{really / len(called):.0%}" if called else "–"
    return [name, optimizer, len(called), really, share, len(trusted), wrong]


def main() -> None:
    """Rank, train, count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", default="layer_norm,small")
    parser.add_argument("--pilots", type=int, default=6)
    parser.add_argument("--write", action="store_true", help="write the dated report")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = [row(n, optimizer, arguments.pilots) for n in arguments.tasks.split(",") for optimizer in RANGES]
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
