"""Real runs of a case, for what its ranking is worth: ``python -m benchmarks.case.truth texts``. Resumable.

The first choices of the finished ranking below ``runs/case`` and some others at random are trained with another seed to
the target, evaluated on the way as pilots are: on the same samples as the reference run, on all of them near the
target. ``raytt validate`` does the same and evaluates all samples each time, which takes longer than training here.
"""

from __future__ import annotations

import argparse
import json
import time
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from raytt.cluster.stages.train_candidates import met_at
from raytt.rates.evaluation import EvaluationPlan
from raytt.rates.reference import train_as_given
from raytt.results.finished_run import load_run
from raytt.training.loop import record_points

RUNS = Path("runs/case")
SEED = 1
EVALUATIONS = 40
PATIENCE = 2.5
"""Steps over the predicted ones after which a run is given up."""


def train(name: str, rank: int) -> None:
    """Train one and keep what it did."""
    torch.set_num_threads(1)
    file = RUNS / f"{name}-truth" / f"{rank}.json"
    if file.exists():
        return
    task = import_module(f"benchmarks.case.{name}").task
    entry = load_run(RUNS / name).ranking.entries[rank - 1]
    predicted, target = entry.forecast.steps, load_run(RUNS / name).ranking.target
    steps = entry.budget if predicted is None else min(entry.budget, round(PATIENCE * predicted))
    begin = time.perf_counter()
    plan = EvaluationPlan(at=record_points(steps, count=EVALUATIONS), target=target)
    log = train_as_given(task, entry.candidate, seed=SEED, steps=steps, schedule_steps=entry.budget, evaluations=plan)
    found: dict[str, Any] = {
        "rank": rank,
        "config": entry.candidate.config(),
        "predicted": predicted,
        "predicted_seconds": entry.seconds,
        "met": met_at(log, target) if log.met else None,
        "steps": len(log.losses),
        "seconds": time.perf_counter() - begin,
        "losses": np.round(log.losses, 4).tolist(),
        "evaluated": [[step, metrics.val_loss] for step, metrics in log.evaluated],
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(found))
    print({key: value for key, value in found.items() if key not in ("losses", "evaluated")}, flush=True)


def main() -> None:
    """Train what is missing, two at a time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--top", type=int, default=6)
    parser.add_argument("--random", type=int, default=6)
    arguments = parser.parse_args()
    count = len(load_run(RUNS / arguments.name).ranking.entries)
    others = np.random.default_rng(SEED).permutation(np.arange(arguments.top + 1, count + 1))[: arguments.random]
    ranks = [*range(1, arguments.top + 1), *(int(rank) for rank in others)]
    print("ranks", ranks, flush=True)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for done in [pool.submit(train, arguments.name, rank) for rank in ranks]:
            done.result()


if __name__ == "__main__":
    main()
