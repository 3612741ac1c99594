"""A reference run in training mode at a learning rate that suits: restarted where it diverges or hardly moves.

Which learning rate suits is not known beforehand. A run that diverges is restarted at 1/`LR_FACTOR` of the learning
rate, one whose recent loss is still above `SLOW_RATIO` of the first minibatches' after `PATIENCE_STEPS` at `LR_FACTOR`
times, at most `MOST_RESTARTS` times in all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from raytt.errors import InputError
from raytt.rates.reference import TrainingLog, train_as_given
from raytt.task.candidate import Candidate
from raytt.task.task import Task
from raytt.training.reference_run import LR_FACTOR, MOST_RESTARTS, PATIENCE_STEPS, SLOW_RATIO


@dataclass(frozen=True, kw_only=True, eq=False)
class FoundReference:
    """A reference run in training mode, and what finding its learning rate took."""

    log: TrainingLog
    """The run."""
    wasted_steps: int
    """Steps of attempts that were given up."""
    stopped: str
    """Why it stopped, for the reader."""


def find_reference(
    task: Task,
    candidate: Candidate,
    *,
    seed: int,
    stop_ratio: float,
    num_points: int,
    most_steps: int,
    device: str | torch.device = "cpu",
    on_step: Callable[[int, float], None] | None = None,
) -> FoundReference:
    """Train a candidate, at another learning rate where its own does not suit.

    Args:
        task: What is trained.
        candidate: Where to begin.
        seed: Of all draws.
        stop_ratio: Ratio of the recent minibatch losses to the first ones at which to stop.
        num_points: Saved states beside the first.
        most_steps: Most steps of all attempts together.
        device: Where to train.
        on_step: Called with each step and its minibatch loss.

    Raises:
        InputError: If the loss falls at none of the learning rates tried.
    """
    wasted, raised, lowered = 0, False, False
    for attempt in range(MOST_RESTARTS + 1):
        left = most_steps - wasted
        patient = attempt == MOST_RESTARTS or lowered or left <= PATIENCE_STEPS
        log = train_as_given(
            task,
            candidate,
            seed=seed,
            steps=max(1, left),
            stop_ratio=stop_ratio,
            num_points=num_points,
            slow_after=None if patient else PATIENCE_STEPS,
            slow_ratio=SLOW_RATIO,
            device=device,
            on_step=on_step,
        )
        if not (log.diverged or log.slow) or left <= len(log.losses):
            break
        wasted += len(log.losses)
        raised, lowered = raised or log.slow, lowered or log.diverged
        candidate = replace(candidate, lr=candidate.lr / LR_FACTOR if log.diverged else candidate.lr * LR_FACTOR)
    if log.diverged or len(log.points) < 2 or log.last_ratio >= 1.0:
        raise InputError(
            f"The reference run did not lower the training loss (last learning rate {candidate.lr:.3g}, "
            f"{wasted + len(log.losses)} steps).",
            "Check the learning rates in the search space, or allow more reference_steps.",
        )
    reached = log.last_ratio <= stop_ratio
    stopped = (
        f"at {log.last_ratio:.2f} of its first minibatches' loss"
        if reached
        else f"after {len(log.losses)} steps, the most that its share of the saved cost allows"
    )
    return FoundReference(log=log, wasted_steps=wasted, stopped=stopped)
