"""Arrow and Parquet files, and frames of the same columns, as datasets of tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from raytt.errors import InputError, StoreError
from raytt.task.task import Inputs
from raytt.training.source import Opener


class TableDataset(Dataset[tuple[Any, Tensor]]):
    """Columns of an Arrow table as (inputs, target): one input column gives a tensor, several a mapping of tensors.

    List columns become tensors of their fixed shape, floating columns torch's default dtype, integers int64.
    """

    def __init__(self, table: Any, input_columns: Sequence[str], target_column: str) -> None:
        self.table = table
        self.input_columns = tuple(input_columns)
        self.target_column = target_column

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __getitem__(self, position: int) -> tuple[Any, Tensor]:
        inputs, targets = self.batch([position])
        single = inputs[0] if isinstance(inputs, Tensor) else {k: v[0] for k, v in inputs.items()}
        return single, targets[0]

    def batch(self, index: Sequence[int] | NDArray[np.int64]) -> tuple[Inputs, Tensor]:
        """The collated rows at ``index``.

        Raises:
            InputError: If a column holds missing values, lists of unequal length, or no numbers.
        """
        rows = self.table.take(pa.array(np.asarray(index, dtype=np.int64)))
        columns = {name: _as_tensor(name, rows[name].combine_chunks()) for name in self.input_columns}
        inputs: Inputs = columns[self.input_columns[0]] if len(columns) == 1 else columns
        return inputs, _as_tensor(self.target_column, rows[self.target_column].combine_chunks())


def open_table(path: Path, input_columns: Sequence[str] | None, target_column: str | None) -> TableDataset:
    """The dataset in an Arrow IPC file or stream (memory-mapped) or a Parquet file (wanted columns, in memory).

    Args:
        path: The file; its kind is told by its first bytes.
        input_columns: Columns of the inputs; None means all but the target.
        target_column: Column of the target.

    Raises:
        InputError: If the file cannot be read as either, or a column is not in it.
    """
    if not path.is_file():
        what = "is a directory" if path.is_dir() else "does not exist"
        raise InputError(
            f"The data file {path} {what}.",
            "Give the path of one Arrow or Parquet file that every worker can read; for many files, give "
            "ray.data.read_parquet(...).",
        )
    with path.open("rb") as file:
        magic = file.read(6)
    try:
        if magic.startswith(b"PAR1"):
            names: list[str] = pa.parquet.read_schema(path).names
        else:
            source = pa.memory_map(str(path))
            reader = pa.ipc.open_file(source) if magic == b"ARROW1" else pa.ipc.open_stream(source)
            names = reader.schema.names
        inputs, target = _choose(f"the file {path}", names, input_columns, target_column)
        wanted = [*inputs, target]
        if magic.startswith(b"PAR1"):
            table = pa.parquet.ParquetFile(path, memory_map=True).read(columns=wanted)
        else:
            table = reader.read_all().select(wanted)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(
            f"{path} cannot be read as an Arrow or Parquet file: {error}", "Write it with pyarrow, pandas or polars."
        ) from error
    return TableDataset(table, inputs, target)


def open_frame(frame: Any, input_columns: Sequence[str] | None, target_column: str | None) -> TableDataset:
    """The dataset in a ``pandas.DataFrame``, as `open_table` reads it from a file of the same columns.

    Raises:
        InputError: If a column is not in it, or mixes kinds of values.
    """
    columns = {str(name): frame.iloc[:, i] for i, name in enumerate(frame.columns)}
    inputs, target = _choose("a pandas DataFrame", list(columns), input_columns, target_column)
    arrays = {}
    for name in (*inputs, target):
        try:
            arrays[name] = pa.chunked_array([pa.Array.from_pandas(columns[name])])
        except pa.ArrowException as error:
            raise InputError(
                f"Column {name!r} of the DataFrame cannot be read: {error}", "Give it values of one kind."
            ) from error
    return TableDataset(pa.table(arrays), inputs, target)


def write_parquet(path: str | Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows with the same keys as a Parquet file, replacing it as a whole.

    Raises:
        StoreError: If it cannot be written.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        pa.parquet.write_table(pa.Table.from_pylist([dict(row) for row in rows]), partial)
        partial.replace(path)
    except (pa.ArrowException, OSError) as error:
        if partial.is_file():
            partial.unlink()
        raise StoreError(f"Cannot write {path}: {error}. Give a writable file.") from error


def _choose(
    what: str, names: list[str], input_columns: Sequence[str] | None, target_column: str | None
) -> tuple[list[str], str]:
    listing = f"Its columns: {', '.join(names)}."
    if target_column is None:
        raise InputError(
            f"The data is {what}, but Task has no target_column.",
            f"Set target_column and, unless all others are inputs, input_columns. {listing}",
        )
    inputs = list(input_columns) if input_columns is not None else [n for n in names if n != target_column]
    if not inputs:
        raise InputError(
            f"The data is {what}, and no input column is left.", f"Name at least one in input_columns. {listing}"
        )
    for name in (*inputs, target_column):
        if name not in names:
            raise InputError(f"The data is {what}, which has no column {name!r}.", listing)
    return inputs, target_column


def _as_tensor(name: str, column: Any) -> Tensor:
    count = len(column)
    shape: list[int] = []
    if isinstance(column, pa.ExtensionArray):
        shape = list(getattr(column.type, "shape", []))
        column = column.storage
        column, length = _flatten(name, column, count)
        shape = shape or [length]
    else:
        outer = count
        while pa.types.is_list(column.type) or pa.types.is_large_list(column.type) or _is_fixed(column.type):
            column, length = _flatten(name, column, outer)
            shape.append(length)
            outer *= length
    if column.null_count:
        raise InputError(f"Column {name!r} holds missing values.", "Fill or drop those rows.")
    kind = column.type
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        values = column.to_numpy(zero_copy_only=False).astype(np.int64)
        return torch.from_numpy(values.reshape(count, *shape))
    if pa.types.is_floating(kind):
        tensor = torch.from_numpy(np.array(column.to_numpy(zero_copy_only=False)))
        return tensor.to(torch.get_default_dtype()).reshape(count, *shape)
    raise InputError(
        f"Column {name!r} holds {kind}, not numbers.",
        "Turn it into numbers first (for text: token ids as a list column), or leave it out of input_columns.",
    )


def _is_fixed(kind: Any) -> bool:
    return bool(pa.types.is_fixed_size_list(kind))


def _flatten(name: str, column: Any, count: int) -> tuple[Any, int]:
    """The values of a list column, one level down, and the common length of its lists."""
    if column.null_count:
        raise InputError(f"Column {name!r} holds missing values.", "Fill or drop those rows.")
    values = column.flatten()
    if _is_fixed(column.type):
        return values, int(column.type.list_size)
    lengths = np.asarray(column.value_lengths())
    if count and lengths.min() != lengths.max():
        raise InputError(
            f"Column {name!r} holds lists of {lengths.min()} to {lengths.max()} values.",
            "Pad or crop them to one length.",
        )
    return values, int(lengths[0]) if count else 0


TABLE_FILE = Opener(
    form="the path of an Arrow or Parquet file",
    accepts=lambda source, task: isinstance(source, str | Path),
    open=lambda source, task: open_table(Path(source), task.input_columns, task.target_column),
)
