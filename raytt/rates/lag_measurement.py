"""Measures a `LagTable`: settles statistics at each saved point, evaluates with mixtures of them and the first ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from raytt.rates.evaluation import Evaluator
from raytt.rates.gradients import MinibatchGradients
from raytt.rates.lag import SHARES, LagTable
from raytt.rates.norm_statistics import (
    momentum_of,
    read_statistics,
    statistics_gram,
    tracking_norms,
    write_statistics,
)
from raytt.task.task import Task

SETTLING = 16
"""Minibatches over which statistics are averaged."""


def measure_lag(
    task: Task,
    states: Sequence[Mapping[str, Tensor]],
    times: Sequence[float],
    *,
    batch_size: int,
    seed: int,
    train: bool = False,
    device: str = "cpu",
) -> LagTable | None:
    """The table of a reference run; None for a network without running statistics.

    Args:
        task: What is trained.
        states: Of the saved points, the pre-trained network's first.
        times: τ of the points.
        batch_size: Of the minibatches over which statistics settle.
        seed: Of all draws.
        train: Whether the part of the training data is evaluated, too.
        device: Where to compute.
    """
    source = MinibatchGradients(task, seed=seed, device=device)
    norms = tracking_norms(source.model.module)
    if not norms:
        return None
    evaluator = Evaluator(task, source.objective, train=train, device=device)
    before = read_statistics(norms)
    settled, rows = [], []
    for point, state in enumerate(states):
        source.load(state)
        own = source.settled_statistics(point, batch_size, range(SETTLING))
        settled.append(own)
        row = []
        for share in SHARES:
            write_statistics(norms, share * before + (1.0 - share) * own)
            row.append(evaluator.measure(source.model).curves())
        rows.append(row)
    return LagTable(
        times=np.asarray(times, dtype=np.float64),
        gram=statistics_gram([before, *settled], settled[0]),
        momentum=momentum_of(norms),
        quality={name: np.asarray([[m[name] for m in row] for row in rows]) for name in rows[0][0]},
    )
