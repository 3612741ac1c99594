"""Learning-rate schedules of ``torch.optim`` as schedules of raytt, whatever built them.

A scheduler is run for the whole budget, which costs no training, and the factors that it gives are compared with those
of raytt's schedules, whose hyperparameters follow from the factors in closed form. So chained, sequential and lambda
schedulers are read like any other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from raytt.errors import InputError
from raytt.task.candidate import Candidate

Floats = NDArray[np.float64]

EXACT = 1e-6
"""Largest difference of a factor at which two schedules count as the same."""
CLOSE = 0.05
"""Largest difference of a factor at which a schedule stands for another: a cosine that moves once in each of 20 or more
epochs is within it of one that moves in every step."""


@dataclass(frozen=True, kw_only=True)
class ReadSchedule:
    """The schedule that is nearest to given learning rates."""

    settings: dict[str, Any]
    """Of a candidate: ``schedule``, its own hyperparameters, ``warmup_steps``."""
    peak: float
    """Largest factor; the candidate's learning rate is this times the optimizer's."""
    error: float
    """Largest difference of a factor after the warm-up, over the peak."""
    warmup_error: float
    """The same in the warm-up."""


def run_scheduler(optimizer: torch.optim.Optimizer, scheduler: Any, *, steps: int, every: int) -> Floats:
    """Factors of the learning rate of the first parameter group in steps 0 … T − 1, shape ``(T,)``.

    Args:
        optimizer: Whose parameters have no gradients; it is stepped.
        scheduler: Attached to it; it is used up.
        steps: T.
        every: Steps after which the scheduler moves, 1 or those of an epoch.
    """
    group = optimizer.param_groups[0]
    start = float(group.get("initial_lr", group["lr"]))
    found = np.empty(steps)
    for step in range(steps):
        found[step] = float(group["lr"]) / start
        optimizer.step()
        if (step + 1) % every == 0:
            scheduler.step()
    return found


def nearest_schedule(factors: Floats, *, lr: float) -> ReadSchedule:
    """The schedule of raytt, with warm-up, whose factors are nearest to given ones.

    Args:
        factors: Of ``lr`` in each step of the budget, shape ``(T,)``.
        lr: What they are factors of.

    Raises:
        InputError: If none is within `CLOSE`.
    """
    peak = float(factors.max())
    warmup = int(np.argmax(factors >= peak * (1.0 - 1e-9)))
    shape = factors / peak
    best: tuple[float, float, dict[str, Any]] | None = None
    for own in _guesses(shape[warmup:], lr=lr * peak):
        settings = {**own, "warmup_steps": warmup}
        ours = Candidate(lr=lr * peak, **settings).lr_factors(len(factors))
        apart = np.abs(ours - shape)
        error = float(apart[warmup:].max())
        if best is None or error < best[0] - EXACT:
            best = (error, float(apart[:warmup].max(initial=0.0)), settings)
    if best is None or best[0] > CLOSE:
        raise InputError(
            "The learning-rate scheduler follows none of raytt's schedules: the nearest is off by "
            f"{1.0 if best is None else best[0]:.2g} of the peak.",
            "Use a schedule that raytt has: see the documentation of tasks.",
        )
    return ReadSchedule(settings=best[2], peak=peak, error=best[0], warmup_error=best[1])


def _guesses(shape: Floats, *, lr: float) -> Iterator[dict[str, Any]]:
    """Schedules that agree with factors in as many places as they have hyperparameters, simplest first."""
    yield {"schedule": "constant"}
    span = len(shape)
    if span < 2:
        return
    t = np.arange(span, dtype=np.float64)
    for name, decay in (("linear", 1.0 - t / span), ("cosine", 0.5 * (1.0 + np.cos(np.pi * t / span)))):
        yield {"schedule": name, "min_lr": lr * _floor(shape, decay)}
    if 0 < shape[1] < shape[0]:
        yield {"schedule": "exponential", "gamma": float(shape[1] / shape[0])}
    drops = np.flatnonzero(np.diff(shape) < 0)
    if len(drops) and shape[drops[0]] > 0 and shape[drops[0] + 1] > 0:
        place = int(drops[0])
        yield {"schedule": "step", "step_size": place + 1, "gamma": float(shape[place + 1] / shape[place])}
    middle = float(shape[span // 2])
    if 0 < middle < 1:
        yield {"schedule": "polynomial", "power": float(np.log(middle) / np.log1p(-t[span // 2] / span))}
    last = float(shape[-1])
    if 0 < last < 1:
        yield {"schedule": "inverse_sqrt", "timescale": float(t[-1] / (1.0 / last**2 - 1.0))}


def _floor(shape: Floats, decay: Floats) -> float:
    """Share f of factor = f + (1 − f) · decay by least squares, in [0, 1]; rounding counts as 0."""
    rest = 1.0 - decay
    floor = float((shape - decay) @ rest / (rest @ rest))
    return min(floor, 1.0) if floor > EXACT / 10 else 0.0
