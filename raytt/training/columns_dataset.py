"""Columns: a mapping from names to tensors, arrays or lists of one length, as tokenizers return them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from raytt.errors import InputError
from raytt.task.task import Task
from raytt.training.source import Opener


class Columns(Dataset[dict[str, Any]]):
    """Rows of columns, each item a mapping with the same names.

    Raises:
        InputError: If columns differ in length.
    """

    def __init__(self, columns: Mapping[str, Any]) -> None:
        self._columns = {str(name): column for name, column in columns.items()}
        lengths = {name: len(column) for name, column in self._columns.items()}
        if len(set(lengths.values())) > 1:
            listed = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise InputError(f"The columns of the data differ in length: {listed}.", "Give as many rows in each.")
        self._length = next(iter(lengths.values()))

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, position: int) -> dict[str, Any]:
        return {name: column[position] for name, column in self._columns.items()}


def _accepts(source: Any, task: Task) -> bool:
    # Without a word on which column is the target, items that are mappings mean nothing to a loss on outputs.
    meant = task.batch_loss is not None or task.target_column is not None or task.collate is not None
    rows = (Tensor, np.ndarray, list, tuple)
    return (
        meant and isinstance(source, Mapping) and len(source) > 0 and all(isinstance(v, rows) for v in source.values())
    )


COLUMNS = Opener(
    form="a mapping of columns, with a batch_loss, a collate or a target_column",
    accepts=_accepts,
    open=lambda source, task: Columns(source),
)
