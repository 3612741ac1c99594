"""Which solver should answer: the optimizer's own steps or the stochastic differential equation?

``python -m benchmarks.solvers``: the digits example with all but its head frozen, so that the linearized network is
exact (up to the sketch) and what differs from real training is the solver's doing. Steps to a fifth of the initial
loss, real training (median of seeds) beside both solvers, and what each solver takes on one thread, in one run.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from typing import Any

import numpy as np
import torch

from benchmarks.report import table, write
from raytt.dynamics.kernel.gram import gram_tile
from raytt.dynamics.kernel.reduction import coordinates_from_gram
from raytt.dynamics.simulate import simulate
from raytt.dynamics.tangent import Samples, Tangent
from raytt.examples import digits
from raytt.forecast.forecast import forecast
from raytt.probe.settings import ProbeSettings
from raytt.probe.worker import ProbeWorker
from raytt.settings.estimator import Method
from raytt.task.candidate import Candidate
from raytt.task.losses import CrossEntropy
from raytt.task.target import Target
from raytt.training.loop import train

RATIO = 0.2
SAMPLES = 128
STEPS = 400
CANDIDATES = (
    Candidate(lr=0.02, batch_size=32),
    Candidate(lr=0.1, batch_size=32),
    Candidate(lr=0.1, batch_size=8),
    Candidate(lr=0.005, momentum=0.9, batch_size=32),
    Candidate(lr=0.02, momentum=0.9, batch_size=8),
    Candidate(lr=0.02, momentum=0.9, nesterov=True, batch_size=32),
    Candidate(lr=0.1, schedule="cosine", batch_size=32),
    Candidate(lr=0.05, weight_decay=0.05, batch_size=32),
)
TASK = dataclasses.replace(digits.task, name="digits-head", trainable=("_fc.*",), validation=None)


def tangent_of_head() -> Tangent:
    """The tangent of the first samples, in float32."""
    index = np.arange(SAMPLES)
    shard = ProbeWorker(TASK, ProbeSettings(proj_dim=16384), index).probe(index)
    coordinates, _ = coordinates_from_gram(gram_tile(shard.rows, shard.rows))
    rows = coordinates.reshape(*shard.rows.shape[:-1], -1)
    samples = Samples(
        outputs=torch.tensor(shard.outputs),
        jacobian=torch.tensor(rows, dtype=torch.float32),
        radial=torch.tensor(shard.radial),
        targets=torch.tensor(shard.targets),
    )
    return Tangent(train=samples, position=torch.zeros(rows.shape[-1]))


def real_steps(candidate: Candidate, seeds: int) -> float | None:
    """Median over seeds of the first step at or below the target."""
    found = []
    for seed in range(seeds):
        index = list(range(SAMPLES))
        grid = list(range(0, STEPS + 1, 4))
        curve = train(
            TASK, candidate, seed=seed, steps=STEPS, record_at=grid, train_index=index, stop_at_loss_ratio=RATIO
        )
        below = np.flatnonzero(curve.train_loss <= RATIO * curve.train_loss[0])
        found.append(float(curve.steps[below[0]]) if len(below) else np.inf)
    median = float(np.median(found))
    return median if np.isfinite(median) else None


def solved_steps(tangent: Tangent, method: Method) -> tuple[list[float | None], float]:
    """Forecast steps of each candidate, and seconds."""
    steps: dict[Candidate, float | None] = {}
    begin = time.perf_counter()
    for size in sorted({c.batch_size for c in CANDIDATES}):
        alike = [c for c in CANDIDATES if c.batch_size == size]
        target = Target(kind="loss_ratio", value=RATIO)
        curves = simulate(
            tangent, CrossEntropy(), alike, [STEPS] * len(alike), num_paths=4, seed=1, target=target, method=method
        )
        for row, candidate in enumerate(alike):
            steps[candidate] = forecast(
                curves,
                row,
                target=target,
                budget=STEPS,
                num_samples=SAMPLES,
                num_samples_full=SAMPLES,
                candidate=candidate,
            ).steps
    return [steps[c] for c in CANDIDATES], time.perf_counter() - begin


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--json", dest="json_file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    tangent = tangent_of_head()
    solved: dict[str, tuple[list[float | None], float]] = {
        "sgd": solved_steps(tangent, "sgd"),
        "sde": solved_steps(tangent, "sde"),
    }
    real = [real_steps(c, arguments.seeds) for c in CANDIDATES]
    rows: list[list[Any]] = []
    for i, candidate in enumerate(CANDIDATES):
        numbers = [real[i], *(solved[m][0][i] for m in ("sgd", "sde"))]
        shown = ["–" if n is None else f"{n:.0f}" for n in numbers]
        rows.append([", ".join(f"{k} {v}" for k, v in candidate.config().items() if k != "optimizer"), *shown])
    body = table(["configuration", "real", "sgd", "sde"], rows) + "\n\n"
    for method, (steps, seconds) in solved.items():
        logs = [abs(np.log(s / r)) for s, r in zip(steps, real, strict=True) if s and r]
        body += (
            f"{method}: median error {100 * np.median(logs):.1f} %, largest {100 * max(logs):.1f} %, {seconds:.1f} s\n"
        )
    figures = {"real": real, **{m: {"steps": s, "seconds": t} for m, (s, t) in solved.items()}}
    write("solvers", "python -m benchmarks.solvers", body, figures=figures, json_file=arguments.json_file)


if __name__ == "__main__":
    main()
