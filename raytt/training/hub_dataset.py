"""Tables of Hugging Face ``datasets``."""

from __future__ import annotations

import sys
from typing import Any

from torch.utils.data import Dataset

from raytt.errors import InputError
from raytt.task.task import Task
from raytt.training.source import Opener


class Table(Dataset[dict[str, Any]]):
    """Rows of a table, and nothing else of it: its own methods have the names of what raytt asks data sets for."""

    def __init__(self, table: Any) -> None:
        self._table = table

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, position: int) -> dict[str, Any]:
        row: dict[str, Any] = self._table[position]
        return row

    def __getitems__(self, positions: list[int]) -> list[dict[str, Any]]:
        """Several rows, in one access."""
        rows: list[dict[str, Any]] = self._table.__getitems__(positions)
        return rows


def _module() -> Any:
    # Whoever holds a table has imported datasets.
    return sys.modules.get("datasets")


def _accepts(source: Any, task: Task) -> bool:
    module = _module()
    return module is not None and isinstance(source, module.Dataset | module.DatasetDict)


def _open(source: Any, task: Task) -> Dataset[Any]:
    """The table as it is where the task has a collate; else with its numbers as tensors, so that torch can stack them.

    Raises:
        InputError: If it is a dictionary of splits.
    """
    if isinstance(source, _module().DatasetDict):
        splits = ", ".join(source)
        raise InputError(f"The data is a DatasetDict of {splits}.", "Give one of its splits, such as data['train'].")
    plain = source.format["type"] is None
    return Table(source.with_format("torch") if plain and task.collate is None else source)


HUB = Opener(
    form="a Dataset of Hugging Face datasets",
    accepts=_accepts,
    open=_open,
)
