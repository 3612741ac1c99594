"""Loss and accuracy in eval mode while a network trains: on validation data and on a fixed part of the training data.

Curves are followed on at most `EVALUATED` samples of each, the same ones in every run; at some steps, and wherever a
target is near, on all of them up to `WHOLE`, and what that changes corrects the others (`raytt.rates.whole_set`). The
network is put in eval mode and back afterwards; its running statistics are used as they are, so that their lag behind
the weights is part of what is measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from raytt.rates.randomness import seeded
from raytt.rates.whole_set import on_the_whole
from raytt.task.target import ROUNDING, Target
from raytt.task.task import Task
from raytt.training.datasets import choose_subsample, open_dataset
from raytt.training.model import PreparedModel
from raytt.training.objective import Objective, batch_to_device

SPACING = 1.4
"""Ratio of the numbers of updates at neighbouring evaluations."""
EVALUATED = 512
"""Most samples of a set that are evaluated at every step that is asked for."""
WHOLE = 8 * EVALUATED
"""Most samples that stand for the whole set: an accuracy near 0.9 is then known to 0.5 points, a loss to about 2 %."""
NEAR = 1.25
"""Factor of the loss between a curve and the target within which all samples are evaluated: more than what a loss on
`EVALUATED` samples is off by."""
NEAR_ACCURACY = 0.04
"""The same for accuracies, a difference."""
BATCH_SIZE = 64
"""Samples per evaluated batch."""
SAMPLES = (EVALUATED, WHOLE, NEAR, NEAR_ACCURACY)
"""What kept evaluations depend on beside what was asked for."""
_Part = tuple[Dataset[Any], NDArray[np.int64], NDArray[np.int64]]
"""A set, the samples of it that are always evaluated, and the further ones."""
_Mean = tuple[float | None, float | None]
"""Loss, and accuracy where there is one."""


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
    value, level = getattr(now, target.curve), _level(target, start)
    return bool(value >= level - ROUNDING) if target.on_accuracy else bool(value <= level)


def _near(target: Target, start: Metrics, now: Metrics) -> bool:
    """Whether it may meet the target on all samples, or may not meet it although it does on some."""
    value, level = getattr(now, target.curve), _level(target, start)
    if target.on_accuracy:
        return bool(abs(value - level) <= NEAR_ACCURACY)
    return not level > 0.0 or bool(level / NEAR <= value <= level * NEAR)


def _level(target: Target, start: Metrics) -> float:
    return float(target.level(getattr(start, target.curve)))


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
    whole: bool = False
    """Whether all samples are evaluated every time."""


class Evaluator:
    """What is evaluated again and again while a network trains.

    Args:
        task: Its training and validation data.
        objective: Its loss.
        train: Whether the training data is evaluated, too.
        device: Where the network is.

    Raises:
        InputError: If the data cannot be read.
    """

    def __init__(
        self, task: Task, objective: Objective, *, train: bool = False, device: str | torch.device = "cpu"
    ) -> None:
        self._objective, self._device = objective, device
        self._sets: list[_Part | None] = []
        for source in (task.data if train else None, task.validation):
            if source is None:
                self._sets.append(None)
                continue
            dataset = open_dataset(source, task)
            total = len(dataset)  # type: ignore[arg-type]
            # Of one choice for all runs: where they differ, samples do not.
            some, whole = (choose_subsample(total, min(total, most), 0) for most in (EVALUATED, WHOLE))
            self._sets.append((dataset, some, np.setdiff1d(whole, some)))

    @property
    def partial(self) -> bool:
        """Whether there are further samples than those that are always evaluated."""
        return any(part is not None and len(part[2]) for part in self._sets)

    def measure(self, model: PreparedModel) -> Metrics:
        """Evaluate the network as it is, on at most `EVALUATED` samples."""
        return self.measure_both(model, whole=False)[0]

    def measure_both(self, model: PreparedModel, *, whole: bool = True) -> tuple[Metrics, Metrics]:
        """Evaluate the network on at most `EVALUATED` samples, and on all; the former twice where not ``whole``."""
        was_training = {module for module in model.module.modules() if module.training}
        model.module.eval()
        try:
            train, validation = (self._means(model, part, whole) for part in self._sets)
        finally:
            # Module by module: a network may keep some of its parts in eval mode while it trains.
            model.module.train()
            for module in model.module.modules():
                module.training = module in was_training
        some, all_of_them = (
            Metrics(train_loss=t[0], train_accuracy=t[1], val_loss=v[0], val_accuracy=v[1])
            for t, v in zip(train, validation, strict=True)
        )
        return some, all_of_them

    def _means(self, model: PreparedModel, part: _Part | None, whole: bool) -> tuple[_Mean, _Mean]:
        """Loss and accuracy of the samples that are always evaluated, and of all."""
        if part is None:
            return (None, None), (None, None)
        dataset, some, further = part
        loss, correct = self._sums(model, dataset, some, 0)
        own = _mean(loss, correct, len(some))
        if not whole or not len(further):
            return own, own
        more, further_correct = self._sums(model, dataset, further, len(some))
        known = None if correct is None or further_correct is None else correct + further_correct
        return own, _mean(loss + more, known, len(some) + len(further))

    def _sums(
        self, model: PreparedModel, dataset: Dataset[Any], positions: NDArray[np.int64], before: int
    ) -> tuple[float, float | None]:
        loss, correct = 0.0, 0.0
        counted = True
        for start in range(0, len(positions), BATCH_SIZE):
            rows = positions[start : start + BATCH_SIZE]
            with seeded("evaluation", before + start):
                batch = batch_to_device(self._objective.read(dataset, rows), self._device)
                found = self._objective.measure(model, batch, len(rows))
            loss += found.loss
            counted &= found.correct is not None
            correct += found.correct or 0.0
        return loss, correct if counted else None


def _mean(loss: float, correct: float | None, count: int) -> _Mean:
    mean = loss / count
    return (mean if np.isfinite(mean) else np.inf), (None if correct is None else correct / count)


class EvaluationLog:
    """Evaluates a run as planned, and keeps what it found.

    Args:
        task: Its data.
        objective: Its loss.
        plan: When; None: never.
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
        device: str | torch.device = "cpu",
    ) -> None:
        self._plan = plan
        self._due = set() if plan is None else {int(step) for step in plan.at}
        self._evaluator = None
        if plan is not None:
            self._evaluator = Evaluator(task, objective, train=plan.train, device=device)
        self._records: list[tuple[int, Metrics]] = []
        self._whole: dict[int, Metrics] = {}
        self.reached = False
        self._end = math.inf

    @property
    def records(self) -> tuple[tuple[int, Metrics], ...]:
        """Updates done, and the quality of all samples there, known or estimated, increasing."""
        if not self._records:
            return ()
        steps = [step for step, _ in self._records]
        part = {
            name: np.asarray([metrics.curves()[name] for _, metrics in self._records])
            for name in self._records[0][1].curves()
        }
        found = on_the_whole(steps, part, {step: metrics.curves() for step, metrics in self._whole.items()})
        return tuple(
            (step, replace(metrics, **{name: float(curve[row]) for name, curve in found.items()}))
            for row, (step, metrics) in enumerate(self._records)
        )

    def is_due(self, step: int) -> bool:
        """Whether the plan names this number of updates."""
        return step in self._due

    def add(self, step: int, model: PreparedModel, *, whole: bool = False) -> None:
        """Evaluate after ``step`` updates, unless that is done, or done on all samples, or nothing is to be evaluated.

        Args:
            step: Updates done.
            model: The network there.
            whole: Whether all samples are evaluated, whatever the plan says.
        """
        if self._plan is None or self._evaluator is None:
            return
        goal, partial = self._plan.target, self._evaluator.partial
        # The first, since levels may be shares of it.
        whole = partial and (whole or self._plan.whole or (step == 0 and goal is not None))
        if self._records and self._records[-1][0] == step:
            if not whole or step in self._whole:
                return
            self._records.pop()
        self._keep(step, *self._evaluator.measure_both(model, whole=whole), whole=whole)
        if goal is None or self.reached:
            return
        start, now = self.records[0][1], self.records[-1][1]
        if partial and not whole and _near(goal, start, now):
            self._records.pop()
            self._keep(step, *self._evaluator.measure_both(model), whole=True)
            now = self.records[-1][1]
        if meets(goal, start, now):
            self.reached, self._end = True, (1.0 + self._plan.past) * step

    def _keep(self, step: int, some: Metrics, all_of_them: Metrics, *, whole: bool) -> None:
        self._records.append((step, some))
        if whole:
            self._whole[step] = all_of_them

    def ends(self, step: int) -> bool:
        """Whether the plan's target ends the run after so many updates."""
        return step >= self._end
