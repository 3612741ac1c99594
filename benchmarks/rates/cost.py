"""What rates cost over the bare gradients that they need: ``python -m benchmarks.rates.cost``.

For each network a plain loop of torch (read, forward, backward) and `MinibatchGradients.block` with its products take
gradients of minibatches of the same size in turn; the medians of their ratios are told.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from benchmarks.report import table, write
from raytt.rates.descent_rates import descent_rate
from raytt.rates.gradients import MinibatchGradients
from raytt.rates.randomness import seeded

from .tasks import TASKS, ModeTask

MINIBATCHES = 8
BATCH_SIZE = 32


def bare_seconds(source: MinibatchGradients, batch_size: int) -> float:
    """As a training loop takes gradients, without an update."""
    parameters = list(source.model.trainable.values())
    begin = time.perf_counter()
    with seeded("bare", 0):
        for _ in range(MINIBATCHES):
            for parameter in parameters:
                parameter.grad = None
            rows = torch.randperm(len(source._data))[:batch_size].numpy()
            loss = source.objective.value(source.model, source._data.read(rows))
            loss.backward()  # type: ignore[no-untyped-call]
            float(loss.detach())
    return time.perf_counter() - begin


def rate_seconds(source: MinibatchGradients, mode_task: ModeTask, batch_size: int) -> float:
    """As raytt measures a rate of AdamW: blocks of minibatches, second moments and all products."""
    begin = time.perf_counter()
    blocks = [source.block(0, batch_size, [number]) for number in range(MINIBATCHES)]
    descent_rate(mode_task.references["adamw"], blocks, source.lr_scales(), source.decayed_weights())
    return time.perf_counter() - begin


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", default="small,resnet,digits,docstrings")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="write the dated report")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name in arguments.tasks.split(","):
        mode_task = TASKS[name]()
        source = MinibatchGradients(mode_task.task, seed=0)
        # Once without counting, for caches and allocators.
        bare_seconds(source, BATCH_SIZE), rate_seconds(source, mode_task, BATCH_SIZE)
        pairs = [
            (bare_seconds(source, BATCH_SIZE), rate_seconds(source, mode_task, BATCH_SIZE))
            for _ in range(arguments.repeats)
        ]
        bare, full = (float(np.median(times)) / MINIBATCHES for times in zip(*pairs, strict=True))
        ratio = float(np.median([b / a for a, b in pairs]))
        rows.append([name, f"{source.num_trainable:,}", f"{1e3 * bare:.1f}", f"{1e3 * full:.1f}", f"{ratio:.2f}"])
        print(rows[-1], flush=True)
    header = ["task", "weights", "bare gradient, ms", "with rates, ms", "ratio"]
    body = f"Minibatches of {BATCH_SIZE}, {MINIBATCHES} a rate, AdamW; one thread.\n\n{table(header, rows)}\n"
    print(body)
    if arguments.write:
        command = f"python -m benchmarks.rates.cost --tasks {arguments.tasks}"
        write("rates-cost", command, body, figures=[], json_file=None)


if __name__ == "__main__":
    main()
