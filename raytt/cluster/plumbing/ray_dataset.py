"""``ray.data.Dataset`` as a map-style dataset: of the rows that are probed, or of all rows for real training.

It is not one of `raytt.training.datasets.OPENERS`, because those open data at once and where they are, and this form
cannot be read by position: its rows are counted first, and fetched in one pass when it is known which are probed. That
pass runs on the cluster, and the training room does not import Ray.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from raytt.errors import InputError
from raytt.task.task import Task
from raytt.training.datasets import choose_subsample, open_dataset
from raytt.training.model import NORM_SAMPLES
from raytt.training.source import called

MOST_BYTES = 4 << 30
"""Bytes of a ``ray.data.Dataset`` up to which all of its rows are kept in memory. They lie there once on the driver and
once in the object store of each node that trains; 4 GiB is what the object store of a Ray started by raytt holds."""


class ColumnsDataset(Dataset[dict[str, Any]]):
    """All rows of a data set, as one array per column: workers on a node share those that hold numbers."""

    def __init__(self, columns: Mapping[str, NDArray[Any]]) -> None:
        self._columns = columns

    def __len__(self) -> int:
        return len(next(iter(self._columns.values()), ()))

    def __getitem__(self, position: int) -> dict[str, Any]:
        # A copy: arrays from the object store cannot be written to, of which torch warns.
        return {name: np.array(column[int(position)]) for name, column in self._columns.items()}


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
    source = called(source)
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


def with_all_rows(task: Task) -> tuple[Task, int, tuple[str, ...]]:
    """The task with all rows at hand in place of ray.data, for real training, which visits every sample.

    Returns:
        The task, the number N of its training samples, and what the user must be told, one sentence each.

    Raises:
        InputError: If the rows of a ``ray.data.Dataset`` take more than `MOST_BYTES`.
    """
    train = open_source(task.data, task)
    validation = None if task.validation is None else open_source(task.validation, task)
    notes = []
    if is_ray_dataset(train):
        train, note = _in_memory(train, "training")
        task = replace(task, data=train)
        notes.append(note)
    if is_ray_dataset(validation):
        validation, note = _in_memory(validation, "validation")
        task = replace(task, validation=validation)
        notes.append(note)
    return task, count(train), tuple(notes)


def _in_memory(source: Any, what: str) -> tuple[ColumnsDataset, str]:
    """All rows of a ``ray.data.Dataset``, and a sentence about what they take."""
    batches: list[dict[str, NDArray[Any]]] = []
    size = 0
    with _in_order():
        for batch in source.iter_batches(batch_size=256, batch_format="numpy"):
            # The batch's own memory goes when the stream moves on.
            batches.append({name: np.array(column) for name, column in batch.items()})
            size += sum(map(_bytes_of, batches[-1].values()))
            if size > MOST_BYTES:
                raise InputError(
                    f"The {what} data is a ray.data.Dataset of more than {MOST_BYTES >> 20:,} MiB, and real training "
                    "keeps all of its rows in memory.",
                    "Give the data as an Arrow or Parquet file that workers can read, or as a map-style dataset that "
                    "reads samples when they are asked for.",
                )
    if not batches:
        raise InputError(f"The {what} data is a ray.data.Dataset without rows.", "Give at least one sample.")
    columns = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    rows = ColumnsDataset(columns)
    return rows, f"Real training keeps all {len(rows):,} {what} rows of the ray.data.Dataset in memory: {size:,} bytes."


def _bytes_of(column: NDArray[Any]) -> int:
    if column.dtype != object:
        return column.nbytes
    return column.nbytes + sum(getattr(value, "nbytes", 0) or sys.getsizeof(value) for value in column)


@contextmanager
def _in_order() -> Iterator[None]:
    """While open, data sets are streamed in their order and without progress bars."""
    import ray.data

    context = ray.data.DataContext.get_current()
    before = context.execution_options.preserve_order, context.enable_progress_bars
    context.execution_options.preserve_order, context.enable_progress_bars = True, False
    try:
        yield
    finally:
        context.execution_options.preserve_order, context.enable_progress_bars = before


def fetch_rows(source: Any, positions: Sequence[int] | NDArray[np.int64], *, num_rows: int) -> RowsDataset:
    """Stream a ``ray.data.Dataset`` once, in its order, and keep the rows at the given positions.

    Raises:
        InputError: If the data set ends before the last position, so that it is not the same on every pass.
    """
    wanted = np.sort(np.asarray(positions, dtype=np.int64))
    rows: dict[int, dict[str, Any]] = {}
    start = 0
    with _in_order():
        for batch in source.iter_batches(batch_size=256, batch_format="numpy"):
            length = len(next(iter(batch.values())))
            for position in wanted[np.searchsorted(wanted, start) : np.searchsorted(wanted, start + length)]:
                rows[int(position)] = {name: np.array(column[position - start]) for name, column in batch.items()}
            start += length
            if len(rows) == len(wanted):
                break
    if len(rows) < len(wanted):
        raise InputError(
            f"The ray.data.Dataset counted {num_rows} rows but gave {start}.",
            "Give a data set that is the same on every pass; materialize() it first.",
        )
    return RowsDataset(rows, num_rows)
