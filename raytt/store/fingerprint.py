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
from raytt.task.nest import leaves
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
        _add_tensor(digest, name, tensor)
    return digest.hexdigest()[:32]


def hash_nest(batch: Any) -> str:
    """32 hexadecimal digits from whatever a collate function returned: tensors and the text of all else, with names."""
    digest = hashlib.sha256()
    for name, leaf in leaves(batch):
        if isinstance(leaf, Tensor):
            _add_tensor(digest, name, leaf)
        elif isinstance(leaf, np.ndarray) and leaf.dtype != object:
            _add_tensor(digest, name, torch.as_tensor(leaf))
        else:
            digest.update(f"{name} {describe(leaf)}\n".encode())
    return digest.hexdigest()[:32]


def _add_tensor(digest: Any, name: str, tensor: Tensor) -> None:
    digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
    digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)


def task_facts(task: Task) -> dict[str, Fact]:
    """The parts of a task that its weights and its data do not show."""
    groups = [[*group.patterns, group.lr_scale, group.weight_decay] for group in task.parameter_groups]
    # What came later is told only where it is set, so that earlier runs stay what they are.
    later = {
        "parameter_groups": json.dumps(groups) if groups else None,
        "decay_norms_and_biases": None if task.decay_norms_and_biases else False,
        "precision": None if task.precision == "float32" else task.precision,
        "ema_decay": task.ema_decay,
        "sample_weights": None
        if task.sample_weights is None
        else hash_arrays(np.asarray(task.sample_weights, dtype=np.float64)),
        "last_batch": None if task.last_batch == "straddle" else task.last_batch,
        "mix": describe(task.mix),
    }
    return {
        "task": task.name,
        "loss": describe(as_loss(task.loss).identity()) if task.batch_loss is None else None,
        "trainable": " ".join(task.trainable),
        "forward": describe(task.forward),
        "collate": describe(task.collate),
        "mode": task.mode,
        # Only where there is one, so that what was kept for other tasks stays valid.
        **({} if task.batch_loss is None else {"batch_loss": describe(task.batch_loss)}),
        "reestimate_norms": task.reestimate_norms,
        **{name: fact for name, fact in later.items() if fact is not None},
    }


def describe(value: Any) -> str | None:
    """A function's name with a hash of its source, so that an edited one is noticed; of other values the text.

    What a function calls is not followed. An object that is called may say by ``identity()`` what it depends on.
    """
    if value is None:
        return None
    if not callable(value):
        return repr(value)
    if hasattr(value, "identity") and not isinstance(value, type):
        return str(value.identity())
    name = f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__qualname__)}"
    try:
        source = inspect.getsource(value)
    except (OSError, TypeError):
        return name
    return f"{name} #{hashlib.sha256(source.encode()).hexdigest()[:12]}"
