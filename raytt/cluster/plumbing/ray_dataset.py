"""``ray.data.Dataset`` as a map-style dataset of the rows that are needed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from raytt.errors import InputError
from raytt.task.task import Task
from raytt.training.datasets import choose_subsample, open_dataset
from raytt.training.model import NORM_SAMPLES


class RowsDataset(Dataset[dict[str, Any]]):
    """Some rows of a longer data set, by their positions in it; each item is a mapping from columns to numpy values."""

    def __init__(self, rows: dict[int, dict[str, Any]], num_rows: int) -> None:
        self._rows = rows
        self._num_rows = num_rows

    def __len__(self) -> int:
        return self._num_rows

    def __getitem__(self, position: int) -> dict[str, Any]:
        return self._rows[int(position)]

    def compact(self) -> list[dict[str, Any]]:
        """The rows that are there, in order, as a map-style dataset of their own."""
        return [self._rows[position] for position in sorted(self._rows)]


def open_source(source: Any, task: Task) -> Any:
    """`raytt.training.datasets.open_dataset`, but a ``ray.data.Dataset`` stays one."""
    if callable(source) and not hasattr(source, "__getitem__"):
        source = source()
    return source if is_ray_dataset(source) else open_dataset(source, task)


def count(opened: Any) -> int:
    """Samples of what `open_source` gave."""
    return int(opened.count()) if is_ray_dataset(opened) else len(opened)


def is_ray_dataset(source: Any) -> bool:
    """Whether it is a ``ray.data.Dataset``."""
    # Whoever holds one has imported ray.data, which takes a second and most runs do not need.
    module = sys.modules.get("ray.data")
    return module is not None and isinstance(source, module.Dataset)


def with_rows(
    task: Task, train: Any, validation: Any, positions: NDArray[np.int64], others: NDArray[np.int64] | None
) -> tuple[Task, Task]:
    """Tasks with the rows at hand in place of ray.data: one for the probe, one for timing steps on the rows themselves.

    Args:
        task: The user's.
        train: What `open_source` gave for the training data.
        validation: The same for the validation data, or None.
        positions: Training samples that are probed.
        others: Validation samples that are probed, or None.
    """
    probed, timed = task, task
    if is_ray_dataset(train):
        total = count(train)
        if task.reestimate_norms:
            positions = np.union1d(positions, choose_subsample(total, min(total, NORM_SAMPLES), 0))
        rows = fetch_rows(train, positions, num_rows=total)
        probed, timed = replace(task, data=rows), replace(task, data=rows.compact())
    if is_ray_dataset(validation):
        kept = None if others is None else fetch_rows(validation, others, num_rows=count(validation))
        probed, timed = replace(probed, validation=kept), replace(timed, validation=None)
    return probed, timed


def fetch_rows(source: Any, positions: Sequence[int] | NDArray[np.int64], *, num_rows: int) -> RowsDataset:
    """Stream a ``ray.data.Dataset`` once, in its order, and keep the rows at the given positions.

    Raises:
        InputError: If the data set ends before the last position, so that it is not the same on every pass.
    """
    import ray.data

    context = ray.data.DataContext.get_current()
    before = context.execution_options.preserve_order, context.enable_progress_bars
    context.execution_options.preserve_order, context.enable_progress_bars = True, False
    wanted = np.sort(np.asarray(positions, dtype=np.int64))
    rows: dict[int, dict[str, Any]] = {}
    start = 0
    try:
        for batch in source.iter_batches(batch_size=256, batch_format="numpy"):
            length = len(next(iter(batch.values())))
            for position in wanted[np.searchsorted(wanted, start) : np.searchsorted(wanted, start + length)]:
                rows[int(position)] = {name: np.array(column[position - start]) for name, column in batch.items()}
            start += length
            if len(rows) == len(wanted):
                break
    finally:
        context.execution_options.preserve_order, context.enable_progress_bars = before
    if len(rows) < len(wanted):
        raise InputError(
            f"The ray.data.Dataset counted {num_rows} rows but gave {start}.",
            "Give a data set that is the same on every pass; materialize() it first.",
        )
    return RowsDataset(rows, num_rows)
