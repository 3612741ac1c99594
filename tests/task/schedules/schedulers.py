"""Learning rates that the schedulers of torch and transformers give a real optimizer, to compare schedules with."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.optim.lr_scheduler import LinearLR, LRScheduler, SequentialLR

from raytt.task.schedules import Schedule

LR = 0.3
"""Peak learning rate of all comparisons."""


def rates_with(make: Callable[[torch.optim.Optimizer], LRScheduler], steps: int) -> NDArray[np.float64]:
    """Learning rates of steps 0…steps−1 of SGD with a peak of `LR`, by the scheduler that ``make`` builds."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR)
    scheduler = make(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        with warnings.catch_warnings():
            # SequentialLR itself calls scheduler.step in a way that torch deprecates.
            warnings.simplefilter("ignore", UserWarning)
            scheduler.step()
    return np.array(rates)


def after_linear_warmup(make: Callable[..., LRScheduler], warmup: int) -> Callable[..., LRScheduler]:
    """The scheduler that ``make`` builds, after torch's linear warm-up of that many steps from 1/(warmup + 1)."""

    def sequence(optimizer: torch.optim.Optimizer) -> LRScheduler:
        after = make(optimizer)
        if not warmup:
            return after
        warm = LinearLR(optimizer, start_factor=1.0 / (warmup + 1), total_iters=warmup)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return SequentialLR(optimizer, [warm, after], milestones=[warmup])

    return sequence


def our_rates(schedule: Schedule, *, steps: int, warmup: int) -> NDArray[np.float64]:
    """Learning rates of the whole run of ``steps``, by the schedule after linear warm-up, with a peak of `LR`."""
    schedule.check(LR)
    warm = (np.arange(warmup) + 1.0) / (warmup + 1.0)
    span = steps - warmup
    return LR * np.concatenate([warm, schedule.after_warmup(np.arange(span, dtype=np.float64), span, LR)])


def assert_equal_to_torch(schedule: Schedule, make: Callable[[Any, int], LRScheduler], *, warmup: int) -> None:
    """Compare a whole run with torch's, whose scheduler ``make`` builds for an optimizer and a span, step by step."""
    steps = 97
    theirs = rates_with(after_linear_warmup(lambda o: make(o, steps - warmup), warmup), steps)
    # torch multiplies up factors from step to step: rounding of order steps × 1e-16 of the peak near a decay's end.
    np.testing.assert_allclose(our_rates(schedule, steps=steps, warmup=warmup), theirs, rtol=1e-12, atol=1e-14 * LR)


def assert_equal_to_transformers(
    schedule: Schedule, make: Callable[[Any, int, int], LRScheduler], *, warmup: int
) -> None:
    """Compare the steps after a warm-up with transformers', whose scheduler ``make(optimizer, warmup, steps)`` builds.

    The warm-up itself differs: transformers' is at t/W of the peak and begins with a step at 0.
    """
    steps = 97
    theirs = rates_with(lambda o: make(o, warmup, steps), steps)
    ours = our_rates(schedule, steps=steps, warmup=warmup)
    np.testing.assert_allclose(ours[warmup:], theirs[warmup:], rtol=1e-12, atol=1e-15 * LR)
