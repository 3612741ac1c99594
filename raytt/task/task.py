"""What would be trained: model, data, loss, and which parameters."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from raytt.errors import InputError
from raytt.task.losses import Loss


@dataclass(frozen=True, kw_only=True)
class Task:
    """A fine-tuning task. Everything in it travels to Ray workers, so models and data are best given as factories.

    A batch is what ``collate`` makes of a list of items: a pair ``(inputs, targets)``. ``inputs`` may be a tensor or a
    mapping of tensors; outputs are ``forward(model, inputs)`` of shape (samples, outputs).
    """

    name: str
    """Used in run names and reports: letters, digits, '-', '_' and '.'."""
    model: Callable[[], nn.Module]
    """Factory of the network with its pre-trained weights; must give the same weights on every call."""
    data: Any
    """Training data: a map-style dataset of (input, target) items, a pair (inputs, targets) of tensors, arrays, lists
    or pandas objects, a pandas DataFrame, the path of an Arrow/Parquet file, a ray.data.Dataset, or a function without
    arguments returning one of these."""
    validation: Any = None
    """Validation data in the same forms, or None."""
    loss: str | Loss | Callable[[Tensor, Tensor], Tensor] = "cross_entropy"
    """'cross_entropy', 'squared_error' (½‖f − y‖²), a Loss, or a function giving per-sample losses."""
    trainable: Sequence[str] = ("*",)
    """Patterns (fnmatch) over parameter names: those that train. A leading '!' excludes, and exclusions alone leave the
    rest. What the factory froze (``requires_grad=False``) stays frozen."""
    forward: Callable[[nn.Module, Any], Tensor] | None = None
    """How inputs become outputs. Default: ``model(inputs)``, for mappings ``model(**inputs)``; then ``.logits``."""
    collate: Callable[[list[Any]], tuple[Any, Tensor]] | None = None
    """From a list of items to (inputs, targets). Default: torch's collation of (input, target) pairs."""
    mode: Literal["eval", "train"] = "eval"
    """'train': the network as ``module.train()`` has it, data read afresh in every step; predictions follow descent
    rates of minibatches, and targets are on the training loss. 'eval': norms with their stored statistics and no
    dropout, as per-sample gradients need; all targets."""
    reestimate_norms: bool = False
    """Whether batch-norm running statistics are first re-estimated on the task's own data."""
    input_columns: Sequence[str] | None = None
    """Columns that form the inputs of Arrow, Parquet, pandas or ray.data items (one: a tensor; several: a mapping)."""
    target_column: str | None = None
    """Column of Arrow, Parquet, pandas or ray.data items that holds the target."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", self.name):
            raise InputError(
                f"Task.name is {self.name!r}.",
                "Use letters, digits, '-', '_' and '.', beginning with a letter or digit, as for a directory.",
            )


Inputs = Tensor | Mapping[str, Tensor]
