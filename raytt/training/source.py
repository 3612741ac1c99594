"""What a form of data is to raytt: how it is recognised, and how it becomes a map-style dataset."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch.utils.data import Dataset

from raytt.task.task import Task


@dataclass(frozen=True, kw_only=True)
class Opener:
    """One form of data. It is registered in `raytt.training.datasets.OPENERS`."""

    form: str
    """In words, for the message that lists what is accepted: "a pair of tensors (inputs, targets)"."""
    accepts: Callable[[Any, Task], bool]
    """Whether data, already called where it was a function, has this form. It must not read samples."""
    open: Callable[[Any, Task], Dataset[Any]]
    """A map-style dataset of (input, target) items. It raises `InputError` where the data has this form but cannot be
    used. If the dataset has ``batch(positions) -> (inputs, targets)``, batches are read by that."""


def called(source: Any) -> Any:
    """The data itself where ``source`` is a function without arguments that returns it."""
    # A class of data sets has a __getitem__, too, but nothing to get.
    made = isinstance(source, type) or (callable(source) and not hasattr(source, "__getitem__"))
    return source() if made else source
