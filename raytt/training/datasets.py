"""Where samples come from: every accepted form of data becomes a map-style dataset, and positions become batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset, IterableDataset, default_collate

from raytt.errors import InputError
from raytt.task.minibatches import permutation
from raytt.task.task import Inputs, Task
from raytt.training.arrow_dataset import open_table

MEMORY_LIMIT = 1 << 30
"""Bytes up to which the inputs of a `Split` are kept in memory."""

_FORMS = (
    "Give a map-style dataset of (input, target) items, a pair of tensors (inputs, targets), the path of an Arrow or "
    "Parquet file, a ray.data.Dataset, or a function without arguments that returns one of these."
)


class PairDataset(Dataset[tuple[Any, Tensor]]):
    """Inputs and targets held as tensors; ``inputs`` may be a mapping of tensors, all of N rows.

    Raises:
        InputError: If the numbers of rows differ.
    """

    def __init__(self, inputs: Inputs, targets: Tensor) -> None:
        for name, tensor in inputs.items() if isinstance(inputs, Mapping) else [("the inputs", inputs)]:
            if tensor.ndim == 0 or targets.ndim == 0 or len(tensor) != len(targets):
                raise InputError(
                    f"{name} has shape {tuple(tensor.shape)}, but the targets have shape {tuple(targets.shape)}.",
                    "Give as many targets as inputs, samples first.",
                )
        self.inputs = inputs
        self.targets = targets

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, position: int) -> tuple[Any, Tensor]:
        inputs, targets = self.batch([position])
        single = {k: v[0] for k, v in inputs.items()} if isinstance(inputs, Mapping) else inputs[0]
        return single, targets[0]

    def batch(self, index: Sequence[int] | NDArray[np.int64]) -> tuple[Inputs, Tensor]:
        """The collated samples at ``index``; the same as torch's collation of the single items."""
        rows = torch.as_tensor(np.asarray(index, dtype=np.int64))
        if isinstance(self.inputs, Mapping):
            return {k: v[rows] for k, v in self.inputs.items()}, self.targets[rows]
        return self.inputs[rows], self.targets[rows]


def open_dataset(source: Any, task: Task) -> Dataset[Any]:
    """A map-style dataset from any form of data that a `Task` accepts.

    Args:
        source: ``task.data`` or ``task.validation``. Functions without arguments are called.
        task: For the column names of Arrow and Parquet files.

    Raises:
        InputError: If the form is unknown, sizes disagree, or there is no sample.
    """
    if callable(source) and not hasattr(source, "__getitem__"):
        source = source()
    if isinstance(source, str | Path):
        dataset: Any = open_table(Path(source), task.input_columns, task.target_column)
    elif isinstance(source, tuple | list) and len(source) == 2 and _is_columns(source[0]) and _is_array(source[1]):
        inputs, targets = source
        if isinstance(inputs, Mapping):
            dataset = PairDataset({str(k): torch.as_tensor(v) for k, v in inputs.items()}, torch.as_tensor(targets))
        else:
            dataset = PairDataset(torch.as_tensor(inputs), torch.as_tensor(targets))
    elif isinstance(source, IterableDataset):
        raise InputError(
            f"The data is an iterable dataset ({type(source).__name__}): raytt must fetch samples by position.", _FORMS
        )
    elif hasattr(source, "__getitem__") and hasattr(source, "__len__") and not isinstance(source, Mapping | Tensor):
        dataset = source
    else:
        raise InputError(f"Cannot read data given as {type(source).__module__}.{type(source).__name__}.", _FORMS)
    if len(dataset) == 0:
        raise InputError("The data set is empty.", "Give at least one sample.")
    return dataset  # type: ignore[no-any-return]


def load_batch(task: Task, dataset: Dataset[Any], index: Sequence[int] | NDArray[np.int64]) -> tuple[Inputs, Tensor]:
    """The collated samples at positions ``index``: inputs, and targets of as many rows.

    Raises:
        InputError: If items cannot be collated to (inputs, targets), or floating inputs or targets are not finite.
    """
    if task.collate is None and hasattr(dataset, "batch"):
        inputs, targets = dataset.batch(index)
    else:
        inputs, targets = _collate(task, _items(dataset, index))
    if not isinstance(targets, Tensor) or targets.ndim == 0 or len(targets) != len(index):
        found = f"shape {tuple(targets.shape)}" if isinstance(targets, Tensor) else f"type {type(targets).__name__}"
        raise InputError(
            f"The targets of {len(index)} samples have {found} after collation.",
            "Return (inputs, targets) with one row of a targets tensor per sample.",
        )
    _check_finite(inputs, targets, index)
    return inputs, targets


def default_forward(model: nn.Module, inputs: Inputs) -> Tensor:
    """``model(**inputs)`` for a mapping, else ``model(inputs)``; then ``.logits`` where the result has it.

    Raises:
        InputError: If that is not a tensor.
    """
    outputs = model(**inputs) if isinstance(inputs, Mapping) else model(inputs)
    outputs = getattr(outputs, "logits", outputs)
    if not isinstance(outputs, Tensor):
        raise InputError(
            f"The network returned {type(outputs).__name__}, which is neither a tensor nor has `.logits`.",
            "Give Task a `forward(model, inputs)` that returns a tensor of shape (samples, outputs).",
        )
    return outputs


def to_device(
    inputs: Inputs, device: str | torch.device, dtype: torch.dtype | None = None, *, non_blocking: bool = False
) -> Inputs:
    """Inputs on ``device``; floating ones converted to ``dtype`` where one is given.

    With ``non_blocking`` copies from pinned memory to a GPU are only begun: what is computed there next waits for them.
    """

    def move(tensor: Tensor) -> Tensor:
        wanted = dtype if tensor.is_floating_point() else None
        return tensor.to(device=device, dtype=wanted, non_blocking=non_blocking)

    return {k: move(v) for k, v in inputs.items()} if isinstance(inputs, Mapping) else move(inputs)


def choose_subsample(num_samples: int, size: int | None, seed: int) -> NDArray[np.int64]:
    """Positions of ``size`` samples drawn without replacement, ascending, shape ``(size,)``; all of them for None.

    With the same seed a smaller subsample is a subset of a larger one.

    Raises:
        InputError: If ``size`` is not in 1…num_samples.
    """
    if size is None:
        return np.arange(num_samples, dtype=np.int64)
    if not 1 <= size <= num_samples:
        raise InputError(
            f"{size} samples were asked for, but the data set has {num_samples}.",
            f"Ask for 1 to {num_samples} samples, or leave the number out.",
        )
    return np.sort(permutation(num_samples, "raytt subsample", seed)[:size])


class Split:
    """Some samples of a data set as training meets them: on the device, in the wanted floating type.

    They are fetched once and kept in memory if they fit ``MEMORY_LIMIT`` and are collated sample by sample (the task
    has no ``collate`` of its own); a data set whose items change from access to access is then frozen as first seen.
    """

    def __init__(
        self,
        task: Task,
        dataset: Dataset[Any],
        positions: Sequence[int] | NDArray[np.int64] | None = None,
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
    ) -> None:
        self._task = task
        self._device = device
        self._dtype = dtype
        self._dataset = dataset
        self._positions = (
            np.arange(len(dataset), dtype=np.int64)  # type: ignore[arg-type]
            if positions is None
            else np.asarray(positions, dtype=np.int64)
        )
        self._kept: PairDataset | None = None
        if task.collate is None and len(self) and self._size() <= MEMORY_LIMIT:
            self._kept = PairDataset(*self._load(np.arange(len(self))))

    def __len__(self) -> int:
        return len(self._positions)

    def batch(self, rows: Sequence[int] | NDArray[np.int64]) -> tuple[Inputs, Tensor]:
        """The collated samples number ``rows`` of this split (0 … len − 1), on the device."""
        return self._load(rows) if self._kept is None else self._kept.batch(rows)

    def batches(self, size: int) -> Iterator[tuple[Inputs, Tensor]]:
        """All samples in order, ``size`` at a time, the last batch perhaps shorter."""
        for start in range(0, len(self), size):
            yield self.batch(np.arange(start, min(start + size, len(self))))

    def _load(self, rows: Sequence[int] | NDArray[np.int64]) -> tuple[Inputs, Tensor]:
        inputs, targets = load_batch(self._task, self._dataset, self._positions[np.asarray(rows)])
        return to_device(inputs, self._device, self._dtype), targets.to(self._device)

    def _size(self) -> int:
        inputs, _ = self._load([0])
        tensors = inputs.values() if isinstance(inputs, Mapping) else [inputs]
        return len(self) * sum(t.numel() * t.element_size() for t in tensors)


def _is_array(value: Any) -> bool:
    return isinstance(value, Tensor | np.ndarray)


def _is_columns(value: Any) -> bool:
    return _is_array(value) or (isinstance(value, Mapping) and len(value) > 0 and all(map(_is_array, value.values())))


def _items(dataset: Any, index: Sequence[int] | NDArray[np.int64]) -> list[Any]:
    positions = [int(i) for i in index]
    fetch: Callable[[list[int]], list[Any]] | None = getattr(dataset, "__getitems__", None)
    return list(fetch(positions)) if fetch is not None else [dataset[i] for i in positions]


def _collate(task: Task, items: list[Any]) -> tuple[Any, Any]:
    if task.collate is not None:
        batch: Any = task.collate(items)
    else:
        if isinstance(items[0], Mapping) and task.target_column is not None:
            items = [_pick(item, task) for item in items]
        if not isinstance(items[0], tuple | list) or len(items[0]) != 2:
            raise InputError(
                f"An item of the data set is {_describe(items[0])}, not a pair (input, target).",
                "Return pairs, or give Task a `collate` (for items that are mappings: a target_column and, if need be, "
                "input_columns).",
            )
        try:
            batch = default_collate(items)
        except (RuntimeError, TypeError) as error:
            raise InputError(
                f"Samples cannot be stacked to a batch: {error}",
                "Make all samples equal in shape, or give Task a `collate` that pads them.",
            ) from error
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        raise InputError(f"Collation gave {_describe(batch)}.", "Let `collate` return a pair (inputs, targets).")
    return batch[0], batch[1]


def _pick(item: Mapping[str, Any], task: Task) -> tuple[Any, Any]:
    names = task.input_columns or [name for name in item if name != task.target_column]
    for name in (*names, str(task.target_column)):
        if name not in item:
            raise InputError(f"Items have no column {name!r}.", f"Choose from: {', '.join(map(str, item))}.")
    inputs = item[names[0]] if len(names) == 1 else {name: item[name] for name in names}
    return inputs, item[str(task.target_column)]


def _describe(value: Any) -> str:
    keys = f" with keys {', '.join(map(str, value))}" if isinstance(value, Mapping) else ""
    size = f" of length {len(value)}" if isinstance(value, tuple | list) else ""
    return f"a {type(value).__name__}{size}{keys}"


def _check_finite(inputs: Any, targets: Tensor, index: Sequence[int] | NDArray[np.int64]) -> None:
    named = inputs.items() if isinstance(inputs, Mapping) else [("inputs", inputs)]
    for name, tensor in (*named, ("targets", targets)):
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point() or bool(torch.isfinite(tensor).all()):
            continue
        where = ""
        if len(tensor) == len(index):
            bad = (~torch.isfinite(tensor)).reshape(len(index), -1).any(dim=1).nonzero().flatten().tolist()
            where = f" (sample {int(index[bad[0]])}{' and others' if len(bad) > 1 else ''})"
        raise InputError(f"The data holds NaN or infinite values in {name}{where}.", "Clean or drop those samples.")
