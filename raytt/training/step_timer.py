"""Seconds per training step, measured by taking real warm steps."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from raytt.errors import InputError
from raytt.pricing.step_time import StepTime
from raytt.task.candidate import Candidate
from raytt.task.minibatches import check_batch_size, iterate_minibatches
from raytt.task.task import Task
from raytt.training.datasets import open_dataset
from raytt.training.model import prepare_as_trained
from raytt.training.objective import Objective, batch_to_device
from raytt.training.steps import Steps


def time_steps(
    task: Task,
    candidate: Candidate | int,
    *,
    warmup: int = 2,
    repeats: int = 10,
    max_seconds: float = 20.0,
    device: str | torch.device = "cpu",
) -> StepTime:
    """Time real training steps: loading and collation, transfer, forward, backward and the optimizer's update.

    The learning rate is set to zero, which costs the same and cannot diverge. Threads are the caller's. On a GPU every
    step ends with a synchronisation.

    Args:
        task: What is trained.
        candidate: Whose network, optimizer and batch size are timed; a number means that batch size with momentum SGD
            and the network of the factory's defaults.
        warmup: Steps taken first and not counted.
        repeats: Steps counted, at most.
        max_seconds: No further step is begun after this many seconds, once one has been counted.
        device: Where to train.

    Raises:
        InputError: If the batch size exceeds the samples, no step is to be counted, or data or network cannot be used.
    """
    if repeats < 1 or warmup < 0:
        raise InputError(
            f"repeats={repeats} and warmup={warmup}.", "Count at least one step after 0 or more warm-up steps."
        )
    chosen = Candidate(lr=1.0, momentum=0.9, batch_size=candidate) if isinstance(candidate, int) else candidate
    task = task.built_for(chosen)
    dataset = open_dataset(task.data, task)
    num_samples = len(dataset)  # type: ignore[arg-type]
    check_batch_size(num_samples, chosen.samples_per_step)
    model = prepare_as_trained(task, device=device)
    objective = Objective(task)
    updates = Steps(model, objective, chosen, ema_decay=task.ema_decay)

    def read(rows: NDArray[np.int64]) -> Any:
        return batch_to_device(objective.read(dataset, rows, training=True), device)

    seconds: list[float] = []
    begin = time.perf_counter()
    for step, rows in enumerate(iterate_minibatches(num_samples, chosen.samples_per_step, 0, stop=warmup + repeats)):
        start = time.perf_counter()
        # Ends with reading the loss and, on a GPU, with waiting for the update.
        updates.take(0.0, read, rows)
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize(device)
        if step >= warmup:
            seconds.append(time.perf_counter() - start)
            if time.perf_counter() - begin > max_seconds:
                break
    low, median, high = np.quantile(seconds, [0.1, 0.5, 0.9])
    return StepTime(
        batch_size=chosen.batch_size,
        seconds=float(median),
        low=float(low),
        high=float(high),
        source=f"median of {len(seconds)} timed step{'' if len(seconds) == 1 else 's'} on {_describe(device)}",
        device=_describe(device) if torch.device(device).type == "cuda" else None,
        count=len(seconds),
    )


def _describe(device: str | torch.device) -> str:
    place = torch.device(device)
    if place.type == "cuda":
        return torch.cuda.get_device_name(place)
    threads = torch.get_num_threads()
    return f"{place.type} with {threads} thread{'s' if threads > 1 else ''}"
