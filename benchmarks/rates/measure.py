"""Reference runs and minibatch gradients of the tasks: ``python -m benchmarks.rates.measure``. Resumable.

What is measured is kept under ``runs/rates``: a reference run with its points, then a file per point, batch size and
block of `BLOCK` minibatches. More minibatches are further blocks.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.rates.trial_steps import Curvature, fit_curvature, try_steps
from raytt.rates.gradients import GradientBlock, MinibatchGradients
from raytt.rates.reference import TrainingLog, train_as_given
from raytt.rates.signal import moments

from .tasks import TASKS, ModeTask

RUNS = Path("runs/rates")
BLOCK = 4
"""Minibatches per block."""
BATCH_SIZES = (8, 16, 32, 64)
TRIAL_FACTORS = (0.3, 1.0)
"""Learning rates of trial steps over the reference's."""
TRIALS = 16
MEASURED_ON = 4
"""Minibatches on which each trial step is measured."""
STOP_RATIO = 0.22
NUM_POINTS = 3
SEED = 0
INITIAL_MINIBATCHES = 12
"""Of the reference's size, whose mean loss at the pre-trained weights is what ratios refer to."""


def reference_file(name: str, optimizer: str) -> Path:
    """Where the reference run lies."""
    return RUNS / f"{name}-{optimizer}-reference.pt"


def reference(name: str, mode_task: ModeTask, optimizer: str) -> TrainingLog:
    """The reference run, computed or from its file."""
    file = reference_file(name, optimizer)
    if file.exists():
        found: TrainingLog = torch.load(file, weights_only=False)
        return found
    candidate = mode_task.references[optimizer]
    steps = candidate.max_steps
    assert steps is not None
    log = train_as_given(
        mode_task.task, candidate, seed=SEED, steps=steps, stop_ratio=STOP_RATIO, num_points=NUM_POINTS
    )
    _save(log, file)
    return log


def block(source: MinibatchGradients, folder: Path, point: int, batch_size: int, number: int) -> GradientBlock:
    """A block of gradients at the loaded point, computed or from its file."""
    file = folder / f"point{point}-B{batch_size}-{number}.pt"
    if file.exists():
        found: GradientBlock = torch.load(file, weights_only=False)
        return found
    made = source.block(point, batch_size, range(number * BLOCK, (number + 1) * BLOCK))
    _save(made, file)
    return made


def curvature(
    source: MinibatchGradients, name: str, log: TrainingLog, point: int, blocks: Sequence[GradientBlock]
) -> Curvature:
    """Trial steps at the reference's batch size, computed or from their file."""
    file = RUNS / f"{name}-{log.candidate.optimizer.name}" / f"point{point}-trials.pt"
    if not file.exists():
        tried = try_steps(
            source,
            log.points[point].state,
            point=point,
            batch_size=log.candidate.batch_size,
            learning_rates=[factor * log.candidate.lr for factor in TRIAL_FACTORS],
            trials=range(TRIALS),
            measured_on=MEASURED_ON,
            scale=log.candidate.optimizer.descent_scale(*moments(blocks)),
        )
        _save(tried, file)
    return fit_curvature(torch.load(file, weights_only=False))


def initial_loss(name: str, mode_task: ModeTask, batch_size: int) -> float:
    """Mean loss of minibatches in training mode at the pre-trained weights."""
    file = RUNS / f"{name}-initial-{batch_size}.pt"
    if not file.exists():
        source = MinibatchGradients(mode_task.task, seed=SEED + 1)
        losses = [source.loss(0, batch_size, number) for number in range(INITIAL_MINIBATCHES)]
        _save(torch.tensor(losses), file)
    return float(torch.load(file).mean())


def _save(thing: Any, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    torch.save(thing, partial)
    os.replace(partial, file)


def main() -> None:
    """Measure what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--optimizers", default="adamw,sgd")
    parser.add_argument("--blocks", type=int, default=4, help=f"blocks of {BLOCK} minibatches per point and batch size")
    parser.add_argument("--batch-sizes", default=",".join(map(str, BATCH_SIZES)))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sizes = [int(size) for size in arguments.batch_sizes.split(",")]
    for name in arguments.tasks.split(","):
        mode_task = TASKS[name]()
        for optimizer in arguments.optimizers.split(","):
            if optimizer not in mode_task.references:
                continue
            log = reference(name, mode_task, optimizer)
            loss = initial_loss(name, mode_task, log.candidate.batch_size)
            print(
                name, optimizer, "reference", len(log.losses), [p.step for p in log.points], f"{loss:.3f}", flush=True
            )
            source = MinibatchGradients(mode_task.task, seed=SEED)
            folder = RUNS / f"{name}-{optimizer}"
            for number in range(arguments.blocks):
                for point, place in enumerate(log.points):
                    source.load(place.state)
                    for size in sizes:
                        begin = time.perf_counter()
                        made = block(source, folder, point, size, number)
                        seconds = time.perf_counter() - begin
                        print(name, optimizer, point, size, number, f"{made.loss:.3f} {seconds:.0f} s", flush=True)
            for point, place in enumerate(log.points):
                source.load(place.state)
                own = range(min(4, arguments.blocks))
                blocks = [block(source, folder, point, log.candidate.batch_size, number) for number in own]
                print(name, optimizer, point, curvature(source, name, log, point, blocks), flush=True)


if __name__ == "__main__":
    main()
