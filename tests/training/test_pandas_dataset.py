"""pandas objects give the batches that tensors of the same numbers do, and unusable ones say what to change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from raytt.errors import InputError
from raytt.task.task import Task
from raytt.training.datasets import load_batch, open_dataset

FRAME = pd.DataFrame({"a": [1, 2, 3], "b": [0.5, 1.5, 2.5]}, index=[7, 5, 6])
LABELS = pd.Series([2, 0, 1], dtype=np.int32)


def reading(source: Any, **options: Any) -> tuple[Any, Tensor]:
    task = Task(mode="eval", name="t", model=nn.Identity, data=source, **options)
    dataset = open_dataset(source, task)
    assert len(dataset) == 3  # type: ignore[arg-type]
    return load_batch(task, dataset, [2, 0])


@pytest.mark.parametrize(
    ("inputs", "targets"),
    [
        (FRAME, LABELS),
        (FRAME, LABELS.to_frame()),
        (FRAME, LABELS.astype(float)),
        (FRAME, [2, 0, 1]),
        (FRAME, torch.tensor([2, 0, 1])),
        (FRAME.astype({"a": "Int64", "b": "Float64"}), LABELS.astype("Int64")),
        (FRAME.to_numpy(np.float32), LABELS),
        (pd.Series(FRAME.astype(float).to_numpy().tolist()), LABELS),
    ],
)
def test_pairs_are_read_by_position(inputs: Any, targets: Any) -> None:
    for source in ((inputs, targets), [inputs, targets], lambda: (inputs, targets)):
        read, labels = reading(source)
        assert (read.dtype, labels.dtype) == (torch.float32, torch.int64)
        assert read.tolist() == [[3.0, 2.5], [1.0, 0.5]]
        assert labels.tolist() == [1, 2]


def test_integers_and_booleans_stay_whole() -> None:
    read, targets = reading(
        (pd.DataFrame({"a": [1, 2, 3], "b": [True, False, True]}), pd.Series([0.1, 0.2, 0.3])), loss="squared_error"
    )
    assert read.dtype == torch.int64
    assert read.tolist() == [[3, 1], [1, 1]]
    torch.testing.assert_close(targets, torch.tensor([0.3, 0.1]))


def test_input_columns_choose_from_a_frame_of_inputs() -> None:
    read, _ = reading((FRAME, LABELS), input_columns=["b"])
    assert read.tolist() == [2.5, 0.5]
    read, _ = reading((FRAME, LABELS), input_columns=["b", "a"])
    assert {k: v.tolist() for k, v in read.items()} == {"b": [2.5, 0.5], "a": [3, 1]}
    read, _ = reading(({"x": FRAME["a"], "y": torch.zeros(3)}, LABELS))
    assert {k: v.tolist() for k, v in read.items()} == {"x": [3, 1], "y": [0.0, 0.0]}


@pytest.mark.parametrize("input_columns", [None, ["a"], ["b", "a"], ["f"]])
def test_a_frame_alone_is_read_as_its_parquet_file(input_columns: list[str] | None, tmp_path: Path) -> None:
    frame = FRAME.assign(f=[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], y=[2, 0, 1])
    frame.to_parquet(tmp_path / "t.parquet")
    ours = reading(frame, input_columns=input_columns or ["a", "b", "f"], target_column="y")
    if input_columns is None:
        assert set(reading(frame, target_column="y")[0]) == {"a", "b", "f"}
    file = reading(str(tmp_path / "t.parquet"), input_columns=input_columns or ["a", "b", "f"], target_column="y")
    torch.testing.assert_close(ours, file, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        (FRAME, {}, "a pandas DataFrame, but Task has no target_column.*Its columns: a, b"),
        (FRAME, {"target_column": "y"}, "a pandas DataFrame, which has no column 'y'"),
        (LABELS, {}, r"a pandas Series, which holds no pairs.*Give a pair \(inputs, targets\)"),
        ((FRAME, LABELS), {"input_columns": ["c"]}, "no column 'c'.*from: a, b"),
        ((FRAME, LABELS[:2]), {}, r"inputs has shape \(3, 2\), but the targets have shape \(2,\)"),
        ((FRAME.assign(c=list("xyz")), LABELS), {}, "column 'c' holds (str|object), not numbers.*cat.codes"),
        ((FRAME, pd.Series(list("xyz"))), {}, "the targets holds (str|object), not numbers"),
        ((FRAME.replace(0.5, np.nan), LABELS), {}, "column 'b' holds missing values.*Fill or drop"),
        ((FRAME[[]], LABELS), {}, "The DataFrame of the inputs has no columns"),
        ((FRAME, LABELS + 0.5), {}, r"the targets hold 2\.5"),
        (pd.DataFrame({"x": [1, "a", 2.0], "y": [0, 1, 0]}), {"target_column": "y"}, "'x' of the DataFrame cannot"),
    ],
)
def test_unusable_pandas_data(source: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_dataset(source, Task(mode="eval", name="t", model=nn.Identity, data=source, **options))
