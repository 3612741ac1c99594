"""pandas: a ``DataFrame`` by the names of its columns, or a pair (inputs, targets) of frames and series."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from raytt.errors import InputError
from raytt.task.task import Task
from raytt.training.arrow_dataset import open_frame
from raytt.training.pair_dataset import open_pair
from raytt.training.source import Opener


def open_pandas(source: Any, task: Task) -> Dataset[Any]:
    """The dataset of a ``DataFrame``, or of a pair (inputs, targets) of which one or both are pandas objects.

    A frame alone is read as a Parquet file of the same columns, by ``task.target_column`` and ``task.input_columns``.

    In a pair, inputs given as a frame become a tensor (samples, columns), or where the task has ``input_columns`` those
    columns alone: one a tensor, several a mapping. Floating columns get torch's default dtype, also where integers
    stand beside them; integers and booleans become int64. Rows go together by their position, whatever the index.

    Raises:
        InputError: If columns are absent, hold no numbers or missing values, or rows disagree in number.
    """
    if isinstance(source, tuple | list):
        inputs, targets = source
        return open_pair((_inputs(inputs, task), _values("the targets", targets)), task)
    if not _is_frame(source):
        raise InputError(
            "The data is a pandas Series, which holds no pairs of inputs and targets.",
            "Give a pair (inputs, targets) of DataFrame and Series, or a DataFrame with target_column in Task.",
        )
    return open_frame(source, task.input_columns, task.target_column)


def _accepts(source: Any, task: Task) -> bool:
    if isinstance(source, tuple | list) and len(source) == 2:
        columns = source[0].values() if isinstance(source[0], Mapping) else [source[0]]
        return any(map(_is_pandas, (*columns, source[1])))
    return _is_pandas(source)


def _is_pandas(value: Any) -> bool:
    # Whoever holds one has imported pandas.
    module = sys.modules.get("pandas")
    return module is not None and isinstance(value, module.DataFrame | module.Series)


def _is_frame(value: Any) -> bool:
    return _is_pandas(value) and value.ndim == 2


def _inputs(inputs: Any, task: Task) -> Any:
    if isinstance(inputs, Mapping):
        return {name: _values(str(name), column) for name, column in inputs.items()}
    if not _is_frame(inputs) or task.input_columns is None:
        return _values("the inputs", inputs)
    for name in task.input_columns:
        if name not in inputs.columns:
            raise InputError(
                f"The DataFrame of inputs has no column {name!r}.",
                f"Choose input_columns from: {', '.join(map(str, inputs.columns))}.",
            )
    columns = {name: _values(name, inputs[name]) for name in task.input_columns}
    return next(iter(columns.values())) if len(columns) == 1 else columns


def _values(name: str, values: Any) -> Any:
    """A series as a tensor (n,), a frame as one (n, columns), lists in a series as a list; all else as it is."""
    if not _is_pandas(values):
        return values
    if values.ndim == 1:
        if values.dtype == object and len(values) and isinstance(values.iloc[0], list | tuple | np.ndarray | Tensor):
            return values.tolist()
        return _column(name, values)
    if not values.shape[1]:
        raise InputError(f"The DataFrame of {name} has no columns.", "Give at least one column.")
    columns = [_column(f"column {values.columns[i]!r}", values.iloc[:, i]) for i in range(values.shape[1])]
    floating = any(column.is_floating_point() for column in columns)
    return torch.stack([c.to(torch.get_default_dtype()) if floating else c for c in columns], dim=1)


def _column(name: str, series: Any) -> Tensor:
    kinds = sys.modules["pandas"].api.types
    if not kinds.is_numeric_dtype(series.dtype):
        raise InputError(
            f"The data is given in pandas, and {name} holds {series.dtype}, not numbers.",
            "Turn it into numbers first (categories: .cat.codes; text: token ids), or leave the column out.",
        )
    if series.isna().any():
        raise InputError(f"The data is given in pandas, and {name} holds missing values.", "Fill or drop those rows.")
    if kinds.is_float_dtype(series.dtype):
        return torch.tensor(series.to_numpy(dtype=np.float64)).to(torch.get_default_dtype())
    return torch.tensor(series.to_numpy(dtype=np.int64))


PANDAS = Opener(
    form="a pandas DataFrame, or a pair (inputs, targets) of DataFrame and Series",
    accepts=_accepts,
    open=open_pandas,
)
