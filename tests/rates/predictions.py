"""Predicted and real steps of candidates on a small network in training mode, without a cluster."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from raytt.forecast.family_rates import FamilyRates
from raytt.forecast.training_reference import TrainingReference
from raytt.rates.descent_rates import descent_rate
from raytt.rates.gradients import MinibatchGradients
from raytt.rates.rate_table import RateTable, batch_of
from raytt.rates.reference import train_as_given
from raytt.rates.smoothing import first_crossing, smoothed
from raytt.rates.walk import walk
from raytt.task.candidate import Candidate
from raytt.task.task import Task

MINIBATCHES = 16


class Predictor:
    """A reference run and the rates along it, for candidates of its batch size."""

    def __init__(self, task: Task, reference: Candidate, *, steps: int, stop_ratio: float) -> None:
        self._task = task
        log = train_as_given(task, reference, seed=9, steps=steps, stop_ratio=stop_ratio, num_points=4)
        source, batch = MinibatchGradients(task, seed=0), batch_of(reference)
        signals = []
        for number, point in enumerate(log.points):
            source.load(point.state)
            blocks = [source.block(number, batch, range(b, b + 2)) for b in range(0, MINIBATCHES, 2)]
            signals.append(descent_rate(reference, blocks, source.lr_scales(), source.decayed_weights()))
        found = TrainingReference(
            candidate=reference,
            losses=log.losses,
            times=log.times,
            point_steps=tuple(point.step for point in log.points),
            evaluated=log.evaluated,
            wasted_steps=0,
            stopped="",
        )
        self._path = found.path()
        self.table: RateTable = FamilyRates(
            reference=found, batch_sizes=(batch,), own=[[signal] for signal in signals], base=signals
        ).table()[0]

    def predicted(self, candidates: Sequence[Candidate], ratio: float, *, budget: int) -> NDArray[np.float64]:
        """Steps of each to a share of the reference's first loss."""
        level = ratio * float(self._path.losses[0])
        return walk(self._path, self.table, candidates, [budget] * len(candidates)).steps_to([level])[0][:, 0]

    def real(self, candidate: Candidate, ratio: float, *, budget: int, seeds: Sequence[int] = (1, 2)) -> float:
        """Mean steps of real training to it."""
        level, found = ratio * float(self._path.losses[0]), []
        for seed in seeds:
            log = train_as_given(self._task, candidate, seed=seed, steps=budget, stop_ratio=0.8 * ratio)
            curve = smoothed(log.losses)
            found.append(first_crossing(np.arange(len(curve), dtype=np.float64), curve, level))
        return float(np.mean(found))
