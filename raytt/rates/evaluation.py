"""Loss and accuracy in eval mode while a network trains: on validation data and on a fixed part of the training data.

At most `EVALUATED` samples of each, the same ones every time. The network is put in eval mode and back afterwards; its
running statistics are used as they are, so that their lag behind the weights is part of what is measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from raytt.rates.randomness import seeded
from raytt.task.target import ROUNDING, Target
from raytt.task.task import Task
from raytt.training.datasets import choose_subsample, open_dataset
from raytt.training.model import PreparedModel
from raytt.training.objective import Objective, batch_to_device

SPACING = 1.4
"""Ratio of the numbers of updates at neighbouring evaluations."""
EVALUATED = 512
"""Most samples of a set that are evaluated: an accuracy near 0.9 is then known to 1.3 points."""
BATCH_SIZE = 64
"""Samples per evaluated batch."""
_Part = tuple[Dataset[Any], NDArray[np.int64]]


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """A network's quality in eval mode; None where there is no such data, or no notion of a correct answer."""

    train_loss: float | None
    """Mean loss of the part of the training data; +inf where it is not finite."""
    train_accuracy: float | None
    """In [0, 1]."""
    val_loss: float | None
    """Mean validation loss; +inf where it is not finite."""
    val_accuracy: float | None
    """In [0, 1]."""

    def curves(self) -> dict[str, float]:
        """Those that are known, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def spaced(steps: int) -> NDArray[np.int64]:
    """Numbers of updates from 1 to ``steps`` in ratios of `SPACING`."""
    count = max(1, math.ceil(math.log(max(steps, 1)) / math.log(SPACING)) + 1)
    return np.unique(np.round(np.geomspace(1, max(steps, 1), count))).astype(np.int64)


def meets(target: Target, start: Metrics, now: Metrics) -> bool:
    """Whether a network of quality ``now`` meets a target on a curve that is evaluated; ``start``: before training."""
    value, first = getattr(now, target.curve), getattr(start, target.curve)
    level = float(target.level(first))
    return bool(value >= level - ROUNDING) if target.on_accuracy else bool(value <= level)


@dataclass(frozen=True, kw_only=True)
class EvaluationPlan:
    """When a run evaluates."""

    at: Sequence[int] | NDArray[np.int64]
    """Numbers of updates after which it does."""
    train: bool = False
    """Whether a part of the training data is evaluated, too."""
    target: Target | None = None
    """On a curve that is evaluated: met, it ends the run; None: evaluations end nothing."""
    past: float = 0.0
    """Share of the steps to the target by which the run goes on beyond it."""


class Evaluator:
    """What is evaluated again and again while a network trains.

    Args:
        task: Its training and validation data.
        objective: Its loss.
        seed: Of the choice of samples.
        train: Whether the part of the training data is evaluated, too.
        device: Where the network is.

    Raises:
        InputError: If the data cannot be read.
    """

    def __init__(
        self, task: Task, objective: Objective, *, seed: int, train: bool = False, device: str | torch.device = "cpu"
    ) -> None:
        self._objective, self._device = objective, device
        self._sets: list[_Part | None] = []
        for source in (task.data if train else None, task.validation):
            if source is None:
                self._sets.append(None)
                continue
            dataset = open_dataset(source, task)
            total = len(dataset)  # type: ignore[arg-type]
            self._sets.append((dataset, choose_subsample(total, min(total, EVALUATED), seed)))

    def measure(self, model: PreparedModel) -> Metrics:
        """Evaluate the network as it is."""
        was_training = {module for module in model.module.modules() if module.training}
        model.module.eval()
        try:
            (train_loss, train_accuracy), (val_loss, val_accuracy) = (self._mean(model, part) for part in self._sets)
        finally:
            # Module by module: a network may keep some of its parts in eval mode while it trains.
            model.module.train()
            for module in model.module.modules():
                module.training = module in was_training
        return Metrics(
            train_loss=train_loss, train_accuracy=train_accuracy, val_loss=val_loss, val_accuracy=val_accuracy
        )

    def _mean(self, model: PreparedModel, part: _Part | None) -> tuple[float | None, float | None]:
        if part is None:
            return None, None
        dataset, positions = part
        loss, correct = 0.0, 0.0
        counted = True
        for start in range(0, len(positions), BATCH_SIZE):
            rows = positions[start : start + BATCH_SIZE]
            with seeded("evaluation", start):
                batch = batch_to_device(self._objective.read(dataset, rows), self._device)
                found = self._objective.measure(model, batch, len(rows))
            loss += found.loss
            counted &= found.correct is not None
            correct += found.correct or 0.0
        mean = loss / len(positions)
        return (mean if np.isfinite(mean) else np.inf), (correct / len(positions) if counted else None)


class EvaluationLog:
    """Evaluates a run as planned, and keeps what it found.

    Args:
        task: Its data.
        objective: Its loss.
        plan: When; None: never.
        seed: Of the choice of samples.
        device: Where the network is.

    Attributes:
        reached: Whether the plan's target has been met.
    """

    def __init__(
        self,
        task: Task,
        objective: Objective,
        plan: EvaluationPlan | None,
        *,
        seed: int,
        device: str | torch.device = "cpu",
    ) -> None:
        self._plan = plan
        self._due = set() if plan is None else {int(step) for step in plan.at}
        self._evaluator = None
        if plan is not None:
            self._evaluator = Evaluator(task, objective, seed=seed, train=plan.train, device=device)
        self._records: list[tuple[int, Metrics]] = []
        self.reached = False
        self._end = math.inf

    @property
    def records(self) -> tuple[tuple[int, Metrics], ...]:
        """Updates done, and the quality there, increasing."""
        return tuple(self._records)

    def is_due(self, step: int) -> bool:
        """Whether the plan names this number of updates."""
        return step in self._due

    def add(self, step: int, model: PreparedModel) -> None:
        """Evaluate after ``step`` updates, unless that is done or nothing is to be evaluated."""
        if self._plan is None or self._evaluator is None or (self._records and self._records[-1][0] == step):
            return
        found = self._evaluator.measure(model)
        self._records.append((step, found))
        goal = self._plan.target
        if goal is not None and not self.reached and meets(goal, self._records[0][1], found):
            self.reached, self._end = True, (1.0 + self._plan.past) * step

    def ends(self, step: int) -> bool:
        """Whether the plan's target ends the run after so many updates."""
        return step >= self._end
