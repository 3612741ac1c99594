"""How many bytes of tensors are alive while operations run, and how many were at most.

Every operation that torch dispatches passes through here with its results. The storage of each result that is not yet
known counts from then on, once however many views it has, until it is freed. It works alike on real tensors and on
those without contents (``FakeTensorMode``), whose storages have sizes, too. The same idea: ``MemTracker`` in
``torch.distributed._tools``.

What a kernel allocates for itself and frees again is not dispatched: see `raytt.training.kernel_workspace`.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Workspace = Callable[[Any, tuple[Any, ...], Mapping[str, Any]], int]
"""Bytes that an operation with these arguments needs for itself while it runs."""


class MemoryMeter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts live bytes of all storages that operations make inside its ``with`` block.

    Args:
        workspace: Working space of an operation; None: 0.
    """

    def __init__(self, workspace: Workspace | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._workspace = workspace
        self._known: dict[int, weakref.ref[torch.UntypedStorage]] = {}
        self.live = 0
        """Bytes alive."""
        self.history: list[tuple[int, int]] = [(0, 0)]
        """Bytes alive at the start, or at the last `restart`, and after each operation since; and the same with the
        working space of the operation."""

    @property
    def peak(self) -> int:
        """Most bytes alive at a time since the start, or since `restart`."""
        return max(live for live, _ in self.history)

    @property
    def peak_with_workspace(self) -> int:
        """The same with the working space of the operation that runs."""
        return max(needed for _, needed in self.history)

    def hold(self, value: Any) -> None:
        """Count the storages of all tensors of a nest from now on, until they are freed; twice is once."""
        for tensor in tree_leaves(value):
            if isinstance(tensor, Tensor) and tensor.layout is torch.strided:
                self._add(tensor.untyped_storage())
        self.history.append((self.live, self.live))

    def restart(self) -> None:
        """Forget what was alive before now."""
        self.history = [(self.live, self.live)]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and count what it made."""
        kwargs = kwargs or {}
        needed = 0 if self._workspace is None else self._workspace(func, args, kwargs)
        result = func(*args, **kwargs)
        self.hold(result)
        self.history[-1] = (self.live, self.live + needed)
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._known:
            return
        size = storage.nbytes()
        self._known[key] = weakref.ref(storage, partial(self._forget, key, size))
        self.live += size

    def _forget(self, key: int, size: int, _: Any) -> None:
        self._known.pop(key, None)
        self.live -= size
