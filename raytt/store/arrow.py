"""Arrays of equal length as bytes of an Arrow IPC file, and back: a row per entry, further axes as fixed-size lists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]


def to_arrow(arrays: Mapping[str, NDArray[Any]], notes: Mapping[str, str]) -> pa.Buffer:
    """The bytes of a file; ``notes`` become metadata of its schema."""
    columns, fields = [], []
    for name, array in arrays.items():
        column = pa.array(np.ascontiguousarray(array).reshape(-1))
        for size in reversed(array.shape[1:]):
            column = pa.FixedSizeListArray.from_arrays(column, size)
        columns.append(column)
        fields.append(pa.field(name, column.type))
    table = pa.Table.from_arrays(columns, schema=pa.schema(fields, metadata=dict(notes)))
    sink = pa.BufferOutputStream()
    with pyarrow.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def from_arrow(data: bytes) -> Arrays:
    """The arrays of a file, read-only.

    Raises:
        ValueError: If it is not an Arrow file, or holds anything but numbers without gaps.
    """
    try:
        table = pyarrow.ipc.open_file(pa.BufferReader(data)).read_all()
        # Arrow trusts what a file says of itself: offsets into nowhere would be followed.
        table.validate(full=True)
        return {name: _from_column(table[name].combine_chunks()) for name in table.column_names}
    except (pa.ArrowException, OSError, KeyError, TypeError, OverflowError) as error:
        raise ValueError(f"not arrays in an Arrow file: {error}") from error


def _from_column(column: Any) -> NDArray[Any]:
    shape = [len(column)]
    while pa.types.is_fixed_size_list(column.type):
        shape.append(column.type.list_size)
        if column.null_count:
            raise ValueError("a list is missing")
        column = column.flatten()
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        raise ValueError(f"a column of {column.type}")
    return np.asarray(column.to_numpy(zero_copy_only=True).reshape(shape))
