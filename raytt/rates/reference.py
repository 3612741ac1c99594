"""A training run in ``module.train()``, as a training loop does it: its minibatch losses and the states on the way.

Notation: w_t weights after t updates, η_t effective learning rate of update t (`Candidate.effective_rates`),
τ_t = Σ_{u<t} η_u *learning-rate time*, ρ = recent mean of the minibatch losses over that of the first ones.

Points are kept where ρ first falls below levels that are evenly spaced in ln ρ between 1 and the ratio at which the run
stops: rates change with the place on the loss curve, so that each stretch between two points does a like share of the
work. The recent mean runs over the last `RECENT` of the steps so far. It lags, which only moves the points: where they
are is told by τ.

All randomness of step t (augmentation, dropout) is a function of (seed, t).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from raytt.errors import InputError
from raytt.rates.evaluation import EvaluationLog, EvaluationPlan, Metrics
from raytt.rates.fresh_batches import FreshBatches
from raytt.rates.randomness import seeded
from raytt.task.candidate import Candidate
from raytt.task.minibatches import check_batch_size
from raytt.task.task import Task
from raytt.training.model import prepare_for_training
from raytt.training.objective import Objective
from raytt.training.steps import Steps

Floats = NDArray[np.float64]

RECENT = 0.25
"""Share of the steps so far over which the recent mean runs."""
LEAST_RECENT = 4
"""Fewest steps of it."""
GOAL_RATIO = 0.2
"""ρ at the goal where losses may be negative: that at which reference runs stop unless a target says otherwise."""
HOPELESS = 1e3
"""A minibatch loss above this times the first ones' mean ends the run. Less does not tell: of 17 runs with
more than ten times their smoothed first loss after 10 steps three were below it after 150 (``python -m
benchmarks.rates.unstable --climbs``, 2026-11-29)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Point:
    """The whole network on the way, whatever the optimizer."""

    step: int
    """Updates done."""
    time: float
    """τ, learning-rate time there."""
    state: dict[str, Tensor]
    """Parameters and buffers by name, copies on the CPU."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingLog:
    """What a run in training mode did."""

    candidate: Candidate
    """How it was trained."""
    seed: int
    """Of minibatches, augmentation and dropout."""
    losses: Floats
    """Mean loss of the minibatches of step t before update t, as a trainer logs it, shape (T,)."""
    times: Floats
    """τ_t after t = 0 … T updates, shape (T + 1,)."""
    points: tuple[Point, ...]
    """States kept, the first at step 0; none if none were asked for."""
    evaluated: tuple[tuple[int, Metrics], ...]
    """Updates done, and the quality in eval mode there, increasing; none if none were asked for."""
    met: bool
    """Whether the target of the evaluations was met."""
    diverged: bool
    """Whether a loss was not finite or rose too far."""
    slow: bool
    """Whether it was given up because its loss hardly moved."""
    last_ratio: float
    """ρ at the end; +inf where it diverged."""
    seconds: float
    """Wall-clock time."""


def state_of(module: nn.Module) -> dict[str, Tensor]:
    """Copies of all parameters and buffers on the CPU."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in module.state_dict().items()}


def train_as_given(
    task: Task,
    candidate: Candidate,
    *,
    seed: int,
    steps: int,
    schedule_steps: int | None = None,
    stop_ratio: float | None = None,
    num_points: int = 0,
    goal: float | None = None,
    slow_after: int | None = None,
    slow_ratio: float = 1.0,
    most_rise: float = HOPELESS,
    device: str | torch.device = "cpu",
    evaluations: EvaluationPlan | None = None,
    on_step: Callable[[int, float], None] | None = None,
) -> TrainingLog:
    """Train in the user's own mode and log the loss of every minibatch.

    Args:
        task: What is trained; data is read afresh in every step.
        candidate: How.
        seed: Of minibatches (`raytt.task.minibatches`), augmentation and dropout.
        steps: Most updates.
        schedule_steps: Length of the learning-rate schedule; None means ``steps``.
        stop_ratio: ρ in (0, 1) at which to stop; None: all ``steps``.
        num_points: Points to keep beside the first, evenly spaced in ln ρ; needs ``stop_ratio``. If the run ends before
            ``stop_ratio``, its last state is one.
        goal: The loss that is aimed at. Where it or the first losses are not positive, ρ is a ratio of distances to a
            loss below it, at which ρ is 0, so that it is `GOAL_RATIO` at the goal.
        slow_after: Give up after so many steps if ρ is still above ``slow_ratio``; None: never.
        slow_ratio: See ``slow_after``.
        most_rise: A minibatch loss above this times the first ones' mean ends the run as diverged.
        device: Where to train.
        evaluations: When quality is evaluated in eval mode, beside the start, every point and the end; None: never.
        on_step: Called with each step and its minibatch loss.

    Raises:
        InputError: If points are asked for without a stop ratio, or data or network cannot be used.
    """
    if num_points and (stop_ratio is None or not 0.0 < stop_ratio < 1.0):
        raise InputError(
            f"num_points is {num_points} with stop_ratio={stop_ratio!r}.", "Give a stop_ratio between 0 and 1."
        )
    begin = time.perf_counter()
    task = task.built_for(candidate)
    objective = Objective(task)
    data = FreshBatches(task, objective, device=device)
    check_batch_size(len(data), candidate.samples_per_step)
    model = prepare_for_training(task, device=device)
    updates = Steps(model, objective, candidate, ema_decay=task.ema_decay)
    quality = EvaluationLog(task, objective, evaluations, device=device)
    quality.add(0, model, whole=num_points > 0)
    budget = steps if schedule_steps is None else schedule_steps
    nominal = candidate.learning_rates(budget)
    times = np.concatenate([[0.0], np.cumsum(candidate.effective_rates(budget))])
    levels = [] if stop_ratio is None else [stop_ratio ** (k / max(1, num_points)) for k in range(1, num_points)]
    points = [Point(step=0, time=0.0, state=state_of(model.module))] if num_points else []
    losses: list[float] = []
    diverged = slow = False
    ratio = 1.0
    for step, rows in enumerate(data.steps(candidate, seed, stop=steps)):
        with seeded("training", seed, step, device=device):
            value = updates.take(float(nominal[step]), data.read, rows)
        losses.append(value)
        if on_step is not None:
            on_step(step, value)
        first = float(np.mean(losses[:LEAST_RECENT]))
        origin = _origin(first, goal)
        if not value - origin <= most_rise * (first - origin):
            diverged, ratio = True, float("inf")
            break
        ratio = (_recent_mean(losses) - origin) / (first - origin)
        done = step + 1
        passed = [level for level in levels if ratio <= level]
        if quality.is_due(done) or passed:
            # Where points are kept, so that what the further samples change is known all along the run.
            quality.add(done, updates.averaged() or model, whole=bool(passed))
        stop = stop_ratio is not None and len(losses) > LEAST_RECENT and ratio <= stop_ratio
        stop |= quality.ends(done)
        if passed or (num_points and (stop or done == steps)):
            levels = [level for level in levels if ratio > level]
            points.append(Point(step=done, time=float(times[done]), state=state_of(model.module)))
            quality.add(done, updates.averaged() or model, whole=True)
        slow = slow_after is not None and len(losses) >= slow_after and ratio > slow_ratio
        if stop or slow:
            break
    if not diverged:
        quality.add(len(losses), updates.averaged() or model)
    return TrainingLog(
        candidate=candidate,
        seed=seed,
        losses=np.asarray(losses),
        times=times[: len(losses) + 1],
        points=tuple(points),
        evaluated=quality.records,
        met=quality.reached,
        diverged=diverged,
        slow=slow,
        last_ratio=ratio,
        seconds=time.perf_counter() - begin,
    )


def _origin(first: float, goal: float | None) -> float:
    """The loss at which ρ is 0: 0, unless the first losses or the goal are not positive."""
    if first > 0.0 and (goal is None or goal > 0.0):
        return 0.0
    aim = first - max(1.0, abs(first)) if goal is None or goal >= first else goal
    return aim - GOAL_RATIO / (1.0 - GOAL_RATIO) * (first - aim)


def _recent_mean(losses: Sequence[float]) -> float:
    return float(np.mean(losses[-max(LEAST_RECENT, int(RECENT * len(losses))) :]))
