"""A reference run in training mode at a learning rate that suits: restarted where it diverges or hardly moves.

Which learning rate suits is not known beforehand: adapters of low rank want ten times what all weights want, and begin
slowly, since one of their factors is zero. So of a run that

* diverges, or ends above `CLIMBED` times its first losses, another begins at 1/`LR_FACTOR` of its learning rate, or
  1/`LEAP` where it diverged before its patience was at an end;
* is still above `SLOW_RATIO` of its first losses when its patience or its steps are at an end, another begins at
  `LR_FACTOR` times its learning rate, or `LEAP` times where it is above `STILL` and has thus not moved at all;

at most `MOST_RESTARTS` times in all. A run after a lowered learning rate is waited for: the one before was too fast.
The patience is `PATIENCE_STEPS`, or a quarter of the steps where those are few.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from raytt.errors import NoDescentError
from raytt.rates.evaluation import EvaluationPlan
from raytt.rates.reference import TrainingLog, train_as_given
from raytt.task.candidate import Candidate
from raytt.task.task import Task
from raytt.training.reference_run import LR_FACTOR, PATIENCE_STEPS, SLOW_RATIO

MOST_RESTARTS = 5
"""In both directions together."""
LEAP = 10.0
"""Factor of the learning rate where the loss did not move: between adapters of low rank and all weights lie about ten
(Hu et al. 2021, arXiv 2106.09685, appendix D; Schulman et al. 2025, *LoRA without regret*)."""
STILL = 0.98
"""Ratio of losses above which a run has not moved. A guard: the means that are compared have noise of this size."""
DIVERGED = 10.0
"""Minibatch loss over the first ones at which a run is given up: it may come down again, but is no path to follow."""
CLIMBED = 1.1
"""Ratio of losses above which a run has climbed: its learning rate is too high, not too low. A guard."""
LEAST_PATIENCE = 10
"""Fewest steps after which a run is judged. A guard."""


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
    goal: float | None = None,
    device: str | torch.device = "cpu",
    evaluations: EvaluationPlan | None = None,
    on_step: Callable[[int, float], None] | None = None,
) -> FoundReference:
    """Train a candidate, at another learning rate where its own does not suit.

    Args:
        task: What is trained.
        candidate: Where to begin.
        seed: Of all draws.
        stop_ratio: Ratio of the recent minibatch losses to the first ones at which to stop.
        num_points: Saved states beside the first.
        most_steps: Most steps of a first run; further ones, where that one lowered nothing, take what it left of them,
            but at least half as many and twice the patience.
        goal: The loss that is aimed at, see `train_as_given`.
        device: Where to train.
        evaluations: When quality is evaluated in eval mode; None: never.
        on_step: Called with each step and its minibatch loss.

    Raises:
        NoDescentError: If the loss falls at none of the learning rates tried.
    """
    patience = min(PATIENCE_STEPS, max(LEAST_PATIENCE, most_steps // 4))
    wasted, lowered = 0, False
    for attempt in range(MOST_RESTARTS + 1):
        last = attempt == MOST_RESTARTS
        log = train_as_given(
            task,
            candidate,
            seed=seed,
            steps=max(1, most_steps - wasted, max(most_steps // 2, 2 * patience) if attempt else 0),
            stop_ratio=stop_ratio,
            num_points=num_points,
            goal=goal,
            slow_after=None if last or lowered else patience,
            slow_ratio=SLOW_RATIO,
            most_rise=DIVERGED,
            device=device,
            evaluations=evaluations,
            on_step=on_step,
        )
        factor = _factor(log, lowered=lowered, patience=patience)
        if factor is None or last:
            break
        wasted += len(log.losses)
        lowered = lowered or factor < 1.0
        candidate = replace(candidate, lr=candidate.lr * factor)
    if log.diverged or len(log.points) < 2 or log.last_ratio >= 1.0:
        raise NoDescentError(
            f"The reference run did not lower the training loss (last learning rate {candidate.lr:.3g}, "
            f"{wasted + len(log.losses)} steps).",
            "Check the learning rates in the search space, or allow more reference_steps.",
        )
    if log.last_ratio <= stop_ratio:
        stopped = f"at {log.last_ratio:.2f} of its first minibatches' loss"
    elif log.met:
        stopped = "past the target"
    else:
        stopped = f"after {len(log.losses)} steps, the most that its share of the saved cost allows"
    return FoundReference(log=log, wasted_steps=wasted, stopped=stopped)


def _factor(log: TrainingLog, *, lowered: bool, patience: int) -> float | None:
    """By what the learning rate is to be multiplied for another attempt; None: the run will do."""
    if log.diverged and len(log.losses) < patience and not lowered:
        return 1.0 / LEAP
    if log.diverged or log.last_ratio > CLIMBED:
        return 1.0 / LR_FACTOR
    if lowered or log.last_ratio <= SLOW_RATIO:
        return None
    return LEAP if log.last_ratio > STILL else LR_FACTOR
