"""Where samples come from: every accepted form of data becomes a map-style dataset, and positions become batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset, IterableDataset, default_collate

from raytt.errors import InputError
from raytt.task.losses import CustomLoss, as_loss
from raytt.task.minibatches import permutation
from raytt.task.nest import tensors
from raytt.task.task import Inputs, Task
from raytt.training.arrow_dataset import TABLE_FILE
from raytt.training.columns_dataset import COLUMNS
from raytt.training.hub_dataset import HUB
from raytt.training.loader_dataset import loader_of
from raytt.training.pair_dataset import PAIR, PairDataset
from raytt.training.pandas_dataset import PANDAS
from raytt.training.source import Opener, called
from raytt.training.stream_dataset import STREAM

MEMORY_LIMIT = 1 << 30
"""Bytes up to which the inputs of a `Split` are kept in memory."""


def _is_map_style(source: Any, task: Task) -> bool:
    # An IterableDataset inherits a __getitem__ that only raises.
    readable = hasattr(source, "__getitem__") and hasattr(source, "__len__")
    return readable and not isinstance(source, Mapping | Tensor | IterableDataset)


MAP_STYLE = Opener(
    form="a map-style dataset of (input, target) items",
    accepts=_is_map_style,
    open=lambda source, task: source,
)

OPENERS = (
    TABLE_FILE,
    PANDAS,
    HUB,
    STREAM,
    loader_of(lambda source, task: open_dataset(source, task)),
    COLUMNS,
    PAIR,
    MAP_STYLE,
)
"""The forms of data in the order in which they are tried. A new one is an `Opener` in a file of its own and one more
entry here, before `MAP_STYLE`, which takes anything that can be indexed.

A ``ray.data.Dataset`` is not among them (`raytt.cluster.plumbing.ray_dataset`): its rows cannot be read by position,
but are fetched in one pass on the cluster when it is known which of them are probed. And only the cluster imports Ray.
"""


def open_dataset(source: Any, task: Task) -> Dataset[Any]:
    """A map-style dataset from any form of data that a `Task` accepts: the first of `OPENERS` that takes it.

    Args:
        source: ``task.data`` or ``task.validation``. Functions without arguments are called.
        task: For the names of columns, and the loss that targets are to fit.

    Raises:
        InputError: If the form is unknown, sizes disagree, or there is no sample.
    """
    source = called(source)
    opener = next((opener for opener in OPENERS if opener.accepts(source, task)), None)
    if opener is None:
        raise _unknown_form(source)
    dataset: Any = opener.open(source, task)
    if len(dataset) == 0:
        raise InputError("The data set is empty.", "Give at least one sample.")
    return dataset  # type: ignore[no-any-return]


def _unknown_form(source: Any) -> InputError:
    problem = f"Cannot read data given as {type(source).__module__}.{type(source).__name__}."
    forms = "; ".join(opener.form for opener in reversed(OPENERS))
    return InputError(
        problem, f"Give one of: {forms}; a ray.data.Dataset; a function without arguments that returns one of these."
    )


def load_batch(task: Task, dataset: Dataset[Any], index: Sequence[int] | NDArray[np.int64]) -> tuple[Inputs, Tensor]:
    """The collated samples at positions ``index``: inputs, and targets of as many rows, as the task's loss takes them.

    Raises:
        InputError: If items cannot be collated to (inputs, targets), floating inputs or targets are not finite, or the
            loss refuses the targets (`Loss.convert`).
    """
    if task.collate is None and hasattr(dataset, "batch"):
        inputs, targets = _as_pair(dataset.batch(index))
    else:
        inputs, targets = _collate(task, fetch_items(dataset, index))
    if not isinstance(targets, Tensor) or targets.ndim == 0 or len(targets) != len(index):
        found = f"shape {tuple(targets.shape)}" if isinstance(targets, Tensor) else f"type {type(targets).__name__}"
        raise InputError(
            f"The targets of {len(index)} samples have {found} after collation.",
            "Return (inputs, targets) with one row of a targets tensor per sample.",
        )
    _check_finite(inputs, targets, index)
    return inputs, as_loss(task.loss).convert(targets)


def load_minibatch(
    task: Task, dataset: Dataset[Any], index: Sequence[int] | NDArray[np.int64]
) -> tuple[Inputs, Tensor]:
    """The collated samples at positions ``index`` for training as the user does: any nest of inputs, any targets.

    Targets need not have a row per sample (tokens of all samples may be flattened, negatives need no targets at all).

    Raises:
        InputError: If items cannot be collated to (inputs, targets), floating tensors are not finite, or the loss
            refuses the targets (`Loss.convert_batch`).
    """
    if task.collate is None and hasattr(dataset, "batch"):
        inputs, targets = _as_pair(dataset.batch(index))
    else:
        inputs, targets = _collate(task, fetch_items(dataset, index))
    _check_finite(inputs, targets, index)
    loss = as_loss(task.loss)
    if isinstance(targets, Tensor):
        return inputs, loss.convert_batch(targets)
    if not isinstance(loss, CustomLoss):
        text = isinstance(targets, tuple | list) and len(targets) > 0 and isinstance(targets[0], str)
        found = f"texts such as {targets[0]!r}" if text else _describe(targets)
        raise InputError(
            f"The targets of a batch are {found}, not a tensor.",
            "Number the classes from 0." if text else "Return them as one tensor, or give a function as loss.",
        )
    return inputs, targets


def collated(task: Task, dataset: Dataset[Any], index: Sequence[int] | NDArray[np.int64]) -> Any:
    """The samples at positions ``index`` as ``collate``, or torch's own collation, makes them a batch of any form.

    Raises:
        InputError: If torch cannot collate them.
    """
    if task.collate is None and hasattr(dataset, "batch"):
        return dataset.batch(index)
    items = fetch_items(dataset, index)
    return task.collate(items) if task.collate is not None else _stacked(items)


def default_forward(model: nn.Module, inputs: Inputs) -> Tensor:
    """``model(**inputs)`` for a mapping, else ``model(inputs)``; then ``.logits`` where the result has it.

    Raises:
        InputError: If that is not a tensor.
    """
    outputs = forward_as_given(model, inputs)
    if not isinstance(outputs, Tensor):
        raise InputError(
            f"The network returned {_describe(outputs)}, which is neither a tensor nor has `.logits`.",
            "Give Task a `forward(model, inputs)` that picks the tensor, such as: lambda model, inputs: "
            "model(inputs)[0].",
        )
    return outputs


def forward_as_given(model: nn.Module, inputs: Inputs) -> Any:
    """`default_forward` for losses that take whatever the network returns, such as functions of a user."""
    outputs = model(**inputs) if isinstance(inputs, Mapping) else model(inputs)
    return getattr(outputs, "logits", outputs)


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


def fetch_items(dataset: Any, index: Sequence[int] | NDArray[np.int64]) -> list[Any]:
    """The items at positions ``index``, not collated."""
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
        batch = _stacked(items)
    return _as_pair(batch)


def _as_pair(batch: Any) -> tuple[Any, Any]:
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        raise InputError(f"Collation gave {_describe(batch)}.", "Let `collate` return a pair (inputs, targets).")
    return batch[0], batch[1]


def _stacked(items: list[Any]) -> Any:
    try:
        return default_collate(items)
    except (RuntimeError, TypeError) as error:
        raise InputError(
            f"Samples cannot be stacked to a batch: {error}",
            "Make all samples equal in shape, or give Task a `collate` that pads them.",
        ) from error


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


def _check_finite(inputs: Any, targets: Any, index: Sequence[int] | NDArray[np.int64]) -> None:
    named = inputs.items() if isinstance(inputs, Mapping) else [("inputs", inputs)]
    parts = [found for name, part in (*named, ("targets", targets)) for found in tensors(part, str(name))]
    for name, tensor in parts:
        if not tensor.is_floating_point() or bool(torch.isfinite(tensor).all()):
            continue
        where = ""
        if tensor.ndim and len(tensor) == len(index):
            bad = (~torch.isfinite(tensor)).reshape(len(index), -1).any(dim=1).nonzero().flatten().tolist()
            where = f" (sample {int(index[bad[0]])}{' and others' if len(bad) > 1 else ''})"
        raise InputError(f"The data holds NaN or infinite values in {name}{where}.", "Clean or drop those samples.")
