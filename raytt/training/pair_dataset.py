"""Inputs and targets that are held as tensors, arrays or lists: a row for each sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from raytt.errors import InputError
from raytt.task.losses import as_loss
from raytt.task.task import Inputs, Task
from raytt.training.source import Opener


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


def open_pair(source: Any, task: Task) -> PairDataset:
    """The dataset of ``(inputs, targets)``, each a tensor, array or list; inputs may be a mapping of these.

    Tensors and arrays keep their dtype; of lists, floating numbers get torch's default dtype. Targets are converted to
    what the task's loss takes (`Loss.convert`), so that unusable ones are refused here, unless the task has a
    ``collate`` of its own, which then sees them as they are.

    Raises:
        InputError: If something does not become a tensor, the numbers of rows differ, or the loss refuses the targets.
    """
    inputs, targets = source
    labels = _as_tensor("the targets", targets)
    if isinstance(inputs, Mapping):
        dataset = PairDataset({str(k): _as_tensor(str(k), v) for k, v in inputs.items()}, labels)
    else:
        dataset = PairDataset(_as_tensor("the inputs", inputs), labels)
    if task.collate is None and task.batch_loss is None and len(dataset):
        loss = as_loss(task.loss)
        dataset.targets = loss.convert_batch(labels) if task.mode == "train" else loss.convert(labels)
    return dataset


def _accepts(source: Any, task: Task) -> bool:
    if not isinstance(source, tuple | list) or len(source) != 2:
        return False
    inputs, targets = source
    arrays = (Tensor, np.ndarray)
    if _are_columns(inputs, arrays) and isinstance(targets, arrays):
        return True
    # Two lists of length two may be two items (input, target), and a list of two lists items for the task's collate.
    if all(isinstance(part, tuple | list) and len(part) == 2 for part in source):
        return False
    if isinstance(source, list) and task.collate is not None:
        return False
    rows = (*arrays, tuple, list)
    return _are_columns(inputs, rows) and isinstance(targets, rows)


def _are_columns(value: Any, kinds: tuple[type, ...]) -> bool:
    if isinstance(value, Mapping):
        return len(value) > 0 and all(isinstance(column, kinds) for column in value.values())
    return isinstance(value, kinds)


def _as_tensor(name: str, values: Any) -> Tensor:
    try:
        if isinstance(values, Tensor | np.ndarray):
            return torch.as_tensor(values)
        if values and isinstance(values[0], Tensor):
            return torch.stack(list(values))
        tensor = torch.as_tensor(np.asarray(values))
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"The data is a pair (inputs, targets), but {name} cannot be made a tensor: {error}",
            "Give numbers, in one shape for all samples. For texts or samples of different lengths give a list of "
            "items, list(zip(inputs, targets)), and Task a `collate` that encodes and pads them.",
        ) from error
    return tensor.to(torch.get_default_dtype()) if tensor.is_floating_point() else tensor


PAIR = Opener(
    form="a pair (inputs, targets) of tensors, arrays or lists of numbers",
    accepts=_accepts,
    open=open_pair,
)
