"""A network's parameters and buffers as one array of bytes, and back, bit for bit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Where a tensor of a state lies among its bytes."""

    name: str
    """In ``state_dict``."""
    dtype: str
    """Name in torch, without "torch."."""
    shape: tuple[int, ...]
    """Of the tensor."""

    def to_json(self) -> list[Any]:
        """As a list for JSON."""
        return [self.name, self.dtype, list(self.shape)]

    @classmethod
    def from_json(cls, item: Sequence[Any]) -> Entry:
        """What `to_json` wrote."""
        name, dtype, shape = item
        return cls(name=name, dtype=dtype, shape=tuple(shape))


def pack(state: Mapping[str, Tensor]) -> tuple[NDArray[np.uint8], tuple[Entry, ...]]:
    """All tensors of a state one after the other, shape (bytes,), and where each lies."""
    entries, parts = [], []
    for name, tensor in state.items():
        entries.append(Entry(name=name, dtype=str(tensor.dtype).removeprefix("torch."), shape=tuple(tensor.shape)))
        parts.append(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8))
    return (torch.cat(parts) if parts else torch.empty(0, dtype=torch.uint8)).numpy(), tuple(entries)


def unpack(data: NDArray[np.uint8], entries: Sequence[Entry]) -> dict[str, Tensor]:
    """The state that `pack` packed.

    Raises:
        ValueError: If the bytes are not as many as the entries say.
    """
    state: dict[str, Tensor] = {}
    # A copy: what comes from the object store cannot be written to.
    flat, start = torch.from_numpy(np.array(data)), 0
    for entry in entries:
        dtype: torch.dtype = getattr(torch, entry.dtype)
        size = int(np.prod(entry.shape, dtype=np.int64)) * dtype.itemsize
        # A slice need not lie where its type may begin.
        state[entry.name] = flat[start : start + size].clone().view(dtype).reshape(entry.shape)
        start += size
    if start != len(flat):
        raise ValueError(f"{len(flat)} bytes for a state of {start}")
    return state
