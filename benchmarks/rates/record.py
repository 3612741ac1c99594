"""Really trains configurations in training mode, keeps minibatch losses: ``python -m benchmarks.rates.record``.

Resumable: each curve is a small JSON file that is written when its run ends; those that exist are skipped. With
``--whole`` runs take all their steps instead of ending at `STOP_RATIO`, and are evaluated more often.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from raytt.rates.evaluation import EvaluationPlan
from raytt.rates.reference import TrainingLog, train_as_given
from raytt.task.candidate import Candidate

from .tasks import TASKS

CURVES = Path(__file__).parent / "curves"
WHOLE = Path(__file__).parent / "whole_curves"
"""Of runs that took all their steps."""
STOP_RATIO = 0.2
"""Share of the first losses at which the recent mean of a recorded run ends it."""
EVALUATIONS = 14
"""Evaluations in eval mode of a run that takes all its steps, beside the first."""
REGULAR = 20
"""Further ones of whole runs, evenly spaced: what early stopping would look at."""
SEED = 1
"""Of the recorded runs; reference runs take another."""


def file_of(task: str, candidate: Candidate, seed: int, folder: Path = CURVES) -> Path:
    """Where the curve of a configuration lies."""
    config = candidate.config()
    name = "-".join(f"{k}={v}" for k, v in sorted(config.items()))
    return folder / f"{task}-{name}-seed={seed}.json"


def save(task: str, log: TrainingLog, folder: Path = CURVES) -> None:
    """Write a finished run at once, so that an interruption leaves no half file."""
    folder.mkdir(exist_ok=True)
    target = file_of(task, log.candidate, log.seed, folder)
    document = {
        "config": log.candidate.config(),
        "seed": log.seed,
        "diverged": log.diverged,
        "seconds": round(log.seconds, 1),
        "losses": [round(float(x), 4) if np.isfinite(x) else None for x in log.losses],
        "evaluated": [{"step": step, **_rounded(asdict(metrics))} for step, metrics in log.evaluated],
    }
    partial = target.with_suffix(".partial")
    partial.write_text(json.dumps(document) + "\n")
    os.replace(partial, target)


def _rounded(metrics: dict[str, float | None]) -> dict[str, float | None]:
    return {k: None if v is None or not np.isfinite(v) else round(v, 4) for k, v in metrics.items()}


def load_curve(task: str, candidate: Candidate, seed: int = SEED, folder: Path = CURVES) -> dict[str, Any] | None:
    """A recorded run, or None; ``losses`` holds +inf for losses that were not finite."""
    file = file_of(task, candidate, seed, folder)
    if not file.exists():
        return None
    document: dict[str, Any] = json.loads(file.read_text())
    document["losses"] = np.asarray([np.inf if x is None else x for x in document["losses"]], dtype=np.float64)
    return document


def main() -> None:
    """Train what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--optimizers", default="adamw,sgd")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--every", type=int, default=1, help="only each n-th configuration, such as for another seed")
    parser.add_argument("--whole", action="store_true", help="take all steps, whatever the loss")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    folder = WHOLE if arguments.whole else CURVES
    for name in arguments.tasks.split(","):
        mode_task = TASKS[name]()
        for optimizer in arguments.optimizers.split(","):
            for candidate in mode_task.candidates.get(optimizer, ())[:: arguments.every]:
                if file_of(name, candidate, arguments.seed, folder).exists():
                    continue
                steps = candidate.max_steps
                assert steps is not None
                at = np.geomspace(1, steps, EVALUATIONS)
                if arguments.whole:
                    at = np.concatenate([at, np.linspace(0, steps, REGULAR + 1)[1:]])
                log = train_as_given(
                    mode_task.task,
                    candidate,
                    seed=arguments.seed,
                    steps=steps,
                    stop_ratio=None if arguments.whole else STOP_RATIO,
                    evaluations=EvaluationPlan(at=np.unique(np.round(at).astype(int))),
                )
                save(name, log, folder)
                print(
                    name, candidate.config(), len(log.losses), f"{log.losses[-1]:.3f} {log.seconds:.0f} s", flush=True
                )


if __name__ == "__main__":
    main()
