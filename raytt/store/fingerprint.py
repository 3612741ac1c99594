"""What results depend on, as flat facts that a manifest can hold and a user can read."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raytt.store.facts import Fact
from raytt.task.losses import as_loss
from raytt.task.task import Inputs, Task


def fingerprint(facts: Any) -> str:
    """32 hexadecimal digits that change whenever the facts (anything JSON can hold) do."""
    text = json.dumps(facts, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def versions() -> dict[str, Fact]:
    """Of the packages whose arithmetic ends up in results."""
    return {name: version(name) for name in ("raytt", "torch", "numpy", "numba", "scipy")}


def hash_arrays(*arrays: NDArray[Any]) -> str:
    """32 hexadecimal digits from dtypes, shapes and values."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:32]


def hash_batch(inputs: Inputs, targets: Tensor) -> str:
    """32 hexadecimal digits from a collated batch."""
    digest = hashlib.sha256()
    named = sorted(inputs.items()) if isinstance(inputs, Mapping) else [("inputs", inputs)]
    for name, tensor in (*named, ("targets", targets)):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:32]


def task_facts(task: Task) -> dict[str, Fact]:
    """The parts of a task that its weights and its data do not show."""
    return {
        "task": task.name,
        "loss": describe(as_loss(task.loss).identity()),
        "trainable": " ".join(task.trainable),
        "forward": describe(task.forward),
        "collate": describe(task.collate),
        "mode": task.mode,
        "reestimate_norms": task.reestimate_norms,
    }


def describe(value: Any) -> str | None:
    """A function's name with a hash of its source, so that an edited one is noticed; of other values the text.

    What a function calls is not followed.
    """
    if value is None:
        return None
    if not callable(value):
        return repr(value)
    name = f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__qualname__)}"
    try:
        source = inspect.getsource(value)
    except (OSError, TypeError):
        return name
    return f"{name} #{hashlib.sha256(source.encode()).hexdigest()[:12]}"
