"""Every accepted form of data gives the same batches, and every unusable one says what to change."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from raytt.errors import InputError
from raytt.task.task import Task
from raytt.training.datasets import (
    OPENERS,
    Split,
    choose_subsample,
    default_forward,
    load_batch,
    open_dataset,
    to_device,
)
from raytt.training.pair_dataset import PairDataset

X = torch.arange(24, dtype=torch.float32).reshape(6, 2, 2) / 7
Y = torch.tensor([0, 1, 2, 0, 1, 2])
INDEX = [4, 0, 5]


def make_task(data: Any = None, **options: Any) -> Task:
    return Task(mode="eval", name="t", model=nn.Identity, data=data, **options)


class Items(Dataset[Any]):
    """A map-style data set of given items, without bulk access."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items
        self.fetched: list[int] = []

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, position: int) -> Any:
        self.fetched.append(position)
        return self.items[position]


def table() -> pa.Table:
    return pa.table({"x": X.tolist(), "y": Y.tolist(), "note": list("abcdef")}).cast(
        pa.schema([("x", pa.list_(pa.list_(pa.float64()))), ("y", pa.int32()), ("note", pa.string())])
    )


def arrow_file(folder: Path) -> Path:
    with pa.ipc.new_file(str(folder / "t.arrow"), table().schema) as writer:
        writer.write_table(table(), max_chunksize=4)
    return folder / "t.arrow"


def arrow_stream(folder: Path) -> Path:
    with pa.ipc.new_stream(str(folder / "t.arrows"), table().schema) as writer:
        writer.write_table(table())
    return folder / "t.arrows"


def parquet_file(folder: Path) -> Path:
    pa.parquet.write_table(table(), folder / "t.parquet", row_group_size=4)
    return folder / "t.parquet"


def fixed_shape_file(folder: Path) -> Path:
    kind = pa.fixed_shape_tensor(pa.float32(), [2, 2])
    storage = pa.FixedSizeListArray.from_arrays(pa.array(X.numpy().ravel()), 4)
    columns = pa.table({"x": pa.ExtensionArray.from_storage(kind, storage), "y": Y.numpy()})
    with pa.ipc.new_file(str(folder / "f.arrow"), columns.schema) as writer:
        writer.write_table(columns)
    return folder / "f.arrow"


SOURCES: dict[str, Callable[[Path], Any]] = {
    "tensors": lambda _: (X, Y),
    "arrays": lambda _: (X.numpy(), Y.numpy()),
    "function": lambda _: lambda: (X, Y),
    "torch data set": lambda _: TensorDataset(X, Y),
    "items": lambda _: Items([(X[i], int(Y[i])) for i in range(6)]),
    "list of items": lambda _: [(X[i], int(Y[i])) for i in range(6)],
    "mappings": lambda _: Items([{"x": X[i], "y": int(Y[i]), "note": "a"} for i in range(6)]),
    "arrow file": arrow_file,
    "arrow file as string": lambda folder: str(arrow_file(folder)),
    "arrow stream": arrow_stream,
    "parquet file": parquet_file,
    "fixed-shape tensors": fixed_shape_file,
}


@pytest.mark.parametrize("form", SOURCES)
def test_every_form_gives_the_same_batches(form: str, tmp_path: Path) -> None:
    task = make_task(SOURCES[form](tmp_path), input_columns=["x"], target_column="y")
    dataset = open_dataset(task.data, task)
    inputs, targets = load_batch(task, dataset, INDEX)
    assert isinstance(inputs, Tensor)
    assert inputs.dtype == torch.float32
    assert targets.dtype == torch.int64
    assert torch.equal(inputs, X[INDEX])
    assert torch.equal(targets, Y[INDEX])
    assert len(dataset) == 6
    single, target = dataset[2][:2] if form != "mappings" else (X[2], Y[2])
    assert torch.equal(single, X[2])
    assert int(target) == 2


def test_mappings_of_tensors() -> None:
    task = make_task(({"ids": Y, "mask": X}, Y))
    dataset = open_dataset(task.data, task)
    inputs, _ = load_batch(task, dataset, INDEX)
    assert isinstance(inputs, dict)
    assert torch.equal(inputs["mask"], X[INDEX])
    assert torch.equal(dataset[1][0]["ids"], Y[1])


def test_several_input_columns_become_a_mapping(tmp_path: Path) -> None:
    columns = pa.table({"a": [[1, 2], [3, 4]], "b": [0.5, 1.5], "c": [True, False], "y": [1.0, 2.0]})
    pa.parquet.write_table(columns, tmp_path / "t.parquet")
    task = make_task(tmp_path / "t.parquet", target_column="y", loss="squared_error")
    inputs, targets = load_batch(task, open_dataset(task.data, task), [1])
    assert isinstance(inputs, dict)
    assert {k: v.tolist() for k, v in inputs.items()} == {"a": [[3, 4]], "b": [1.5], "c": [0]}
    assert (targets.tolist(), targets.dtype) == ([2.0], torch.float32)


def test_own_collate_sees_items_whatever_the_source(tmp_path: Path) -> None:
    def collate(items: list[Any]) -> tuple[Any, Tensor]:
        return torch.stack([x for x, _ in items]) * 2, torch.tensor([int(y) for _, y in items])

    for source in ((X, Y), arrow_file(tmp_path), TensorDataset(X, Y)):
        task = make_task(source, input_columns=["x"], target_column="y", collate=collate)
        inputs, _ = load_batch(task, open_dataset(source, task), INDEX)
        assert isinstance(inputs, Tensor)
        assert torch.equal(inputs, 2 * X[INDEX])


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter([])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (Stream(), "The data set is empty"),
        (7, "Cannot read data given as builtins.int.*map-style dataset"),
        ({"x": X, "y": Y}, "Cannot read data given as builtins.dict"),
        (X, "Cannot read data given as torch.Tensor"),
        ((X, Y[:4]), r"the inputs has shape \(6, 2, 2\), but the targets have shape \(4,\)"),
        (({"ids": X[:2]}, Y), r"ids has shape \(2, 2, 2\)"),
        ([], "empty"),
        ((X[:0], Y[:0]), "empty"),
        ("/nonexistent/file.parquet", "does not exist.*every worker"),
    ],
)
def test_unusable_sources(source: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_dataset(source, make_task(source))


@pytest.mark.parametrize(
    ("items", "options", "message"),
    [
        ([X[0]], {}, r"a Tensor, not a pair \(input, target\).*collate"),
        ([{"x": X[0], "y": 1}], {}, "a dict with keys x, y, not a pair.*target_column"),
        ([{"x": X[0], "y": 1}], {"target_column": "label"}, "no column 'label'.*x, y"),
        ([(X[0], 1), (X[0, 0], 1)], {}, "cannot be stacked.*`collate` that pads"),
        ([(X[0], {"a": 1})], {}, "have type dict after collation"),
        ([(X[0], 1)], {"collate": lambda items: torch.zeros(1)}, "Collation gave a Tensor"),
        ([(X[0], 1)], {"collate": lambda items: (X, Y)}, r"The targets of 1 samples have shape \(6,\)"),
        ([(X[0], 1), (X[0] / 0, 1)], {}, r"NaN or infinite values in inputs \(sample 1\)"),
        ([(X[0], 1.0), (X[0], float("nan"))], {}, r"NaN or infinite values in targets \(sample 1\)"),
        ([({"m": X[0] / 0}, 1), ({"m": X[0] / 0}, 1)], {}, r"infinite values in m \(sample 0 and others\)"),
    ],
)
def test_unusable_items(items: list[Any], options: dict[str, Any], message: str) -> None:
    task = make_task(Items(items), **options)
    with pytest.raises(InputError, match=message):
        load_batch(task, open_dataset(task.data, task), range(len(items)))


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({"x": [1.0], "y": [0]}, {}, "has no target_column.*Its columns: x, y"),
        ({"x": [1.0], "y": [0]}, {"target_column": "z"}, "no column 'z'"),
        ({"x": [1.0], "y": [0]}, {"target_column": "y", "input_columns": ["w"]}, "no column 'w'"),
        ({"y": [0]}, {"target_column": "y"}, "no input column"),
        ({"x": ["text"], "y": [0]}, {"target_column": "y"}, "'x' holds string, not numbers.*token ids"),
        ({"x": [1.0, None], "y": [0, 1]}, {"target_column": "y"}, "'x' holds missing values"),
        ({"x": [[1.0], None], "y": [0, 1]}, {"target_column": "y"}, "'x' holds missing values"),
        ({"x": [[1.0], [1.0, 2.0]], "y": [0, 1]}, {"target_column": "y"}, "'x' holds lists of 1 to 2 values"),
    ],
)
def test_unusable_tables(columns: dict[str, Any], options: dict[str, Any], message: str, tmp_path: Path) -> None:
    pa.parquet.write_table(pa.table(columns), tmp_path / "t.parquet")
    task = make_task(tmp_path / "t.parquet", **options)
    with pytest.raises(InputError, match=message):
        load_batch(task, open_dataset(task.data, task), range(len(columns["y"])))


def test_unusable_files(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("x,y\n1,2\n")
    with pytest.raises(InputError, match="cannot be read as an Arrow or Parquet file"):
        open_dataset(tmp_path / "t.csv", make_task(target_column="y"))
    with pytest.raises(InputError, match=r"is a directory.*ray.data.read_parquet"):
        open_dataset(tmp_path, make_task(target_column="y"))


@dataclass
class Output:
    logits: Any


def test_default_forward_and_its_error() -> None:
    class Sum(nn.Module):
        def forward(self, a: Tensor, b: Tensor) -> Output:
            return Output(a + b)

    assert torch.equal(default_forward(nn.Identity(), X), X)
    assert torch.equal(default_forward(Sum(), {"a": X, "b": X}), 2 * X)

    class Wrong(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor]:
            return (x,)

    with pytest.raises(InputError, match=r"returned a tuple of length 1.*`forward"):
        default_forward(Wrong(), X)


def test_to_device_converts_floating_inputs_only() -> None:
    moved = to_device({"ids": Y, "x": X}, "cpu", torch.float64)
    assert isinstance(moved, dict)
    assert (moved["ids"].dtype, moved["x"].dtype) == (torch.int64, torch.float64)
    assert to_device(X, "meta").device.type == "meta"


def test_subsamples_are_nested_sorted_and_seeded() -> None:
    small, large = choose_subsample(100, 10, seed=1), choose_subsample(100, 30, seed=1)
    assert set(small) < set(large)
    assert (np.diff(large) > 0).all()
    assert large.dtype == np.int64
    assert set(small) != set(choose_subsample(100, 10, seed=2))
    assert choose_subsample(5, None, seed=1).tolist() == [0, 1, 2, 3, 4]
    for size in (0, 101):
        with pytest.raises(InputError, match=rf"{size} samples were asked for, but the data set has 100"):
            choose_subsample(100, size, seed=1)


def test_split_keeps_what_it_may() -> None:
    items = Items([(X[i], int(Y[i])) for i in range(6)])
    task = make_task(items)
    split = Split(task, items, [5, 1, 3], dtype=torch.float64)
    fetched = list(items.fetched)
    inputs, targets = split.batch([2, 0])
    assert items.fetched == fetched
    assert isinstance(inputs, Tensor)
    assert torch.equal(inputs, X[[3, 5]].double())
    assert targets.tolist() == [0, 2]
    assert [len(t) for _, t in split.batches(2)] == [2, 1]


@pytest.mark.parametrize("why", ["own collate", "too large"])
def test_split_fetches_anew_what_it_may_not_keep(why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    items = Items([(X[i], int(Y[i])) for i in range(6)])
    if why == "too large":
        monkeypatch.setattr("raytt.training.datasets.MEMORY_LIMIT", 3 * 16 - 1)
        task = make_task(items)
    else:
        task = make_task(items, collate=lambda batch: (torch.stack([x for x, _ in batch]), torch.zeros(len(batch))))
    split = Split(task, items, [5, 1, 3])
    items.fetched.clear()
    inputs, _ = split.batch([2, 0])
    assert items.fetched == [3, 5]
    assert torch.equal(inputs, X[[3, 5]])


def test_pairs_travel_to_workers() -> None:
    copy = pickle.loads(pickle.dumps(PairDataset(X, Y)))
    assert torch.equal(copy.batch([1])[0], X[[1]])


def reading(data: Any, **options: Any) -> tuple[Any, Tensor]:
    """Inputs and targets of all samples, as they are read for a task of these options."""
    task = make_task(data, **options)
    dataset = open_dataset(data, task)
    return load_batch(task, dataset, range(len(dataset)))  # type: ignore[arg-type]


LABELS: dict[str, tuple[Any, Any]] = {
    "int32 tensor": (X, Y.int()),
    "float64 array": (X.numpy(), Y.double().numpy()),
    "column": (X, Y[:, None]),
    "one-hot": (X, torch.nn.functional.one_hot(Y)),
    "one-hot floats": (X, torch.nn.functional.one_hot(Y).float()),
}


@pytest.mark.parametrize("form", LABELS)
def test_labels_are_converted_where_their_meaning_is_unique(form: str) -> None:
    inputs, labels = LABELS[form]
    for source in ((inputs, labels), Items(list(zip(inputs, labels, strict=True)))):
        found = reading(source)[1]
        assert found.dtype == torch.int64
        assert torch.equal(found, Y)
        # What other losses are given stays as it is.
        assert torch.equal(reading(source, loss="squared_error")[1], torch.as_tensor(labels))


@pytest.mark.parametrize(
    ("targets", "message"),
    [(Y / 2, r"the targets hold 0\.5"), (torch.full((6, 2), 0.5), "one-hot rows.*class probabilities")],
)
def test_unusable_labels_are_refused_when_the_data_is_opened(targets: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_dataset((X, targets), make_task())
    task = make_task(Items(list(zip(X, targets, strict=True))))
    with pytest.raises(InputError, match=message):
        load_batch(task, open_dataset(task.data, task), [0, 1])


def test_an_own_collate_sees_the_targets_as_they_are() -> None:
    def collate(items: list[Any]) -> tuple[Any, Tensor]:
        assert {y.dtype for _, y in items} == {torch.float32}
        return torch.stack([x for x, _ in items]), torch.stack([2 * y for _, y in items])

    assert torch.equal(reading((X, Y / 2), collate=collate)[1], Y)


def test_every_form_of_data_is_named_where_none_fits() -> None:
    with pytest.raises(InputError) as caught:
        open_dataset(7, make_task())
    for opener in OPENERS:
        assert opener.form in str(caught.value)
