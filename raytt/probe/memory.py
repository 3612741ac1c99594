"""Less at a time when a device runs out of memory, until the work fits.

What is tried first follows from settings and the network alone, never from the memory that happens to be free: a run
would else give other bits beside another process. Both sizes that are halved here, of micro-batches and of transients,
change the shapes of matrix products and with them the last bits of rows (measured: up to 2e-7 of the largest entry in
float32 on a CPU). So rows computed after a retry equal those of an undisturbed worker to rounding, not bit for bit, and
`raytt.probe.shard.Shard.halvings` records which they are.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import torch

from raytt.errors import InputError
from raytt.probe.layers.use import Budget

LEAST_BYTES = 1 << 21
"""Bound on transients below which halving it frees next to nothing: half a tile of weight gradients."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Portion:
    """How much is computed at a time."""

    num_samples: int
    """Most samples per micro-batch."""
    max_bytes: int
    """Bound on each large transient, bytes, see `raytt.probe.layers.use.Budget`."""
    halvings: int = 0
    """How many times one of them was halved."""

    @property
    def budget(self) -> Budget:
        """The bound for the layers."""
        return Budget(max_bytes=self.max_bytes)

    def halved(self) -> Portion | None:
        """The next smaller one, None if there is none.

        Transients first, then samples, in turn: other transients need no new plan, but where activations fill the
        memory only fewer samples help. Samples end at 1, transients at `LEAST_BYTES`.
        """
        bytes_left, samples_left = self.max_bytes > LEAST_BYTES, self.num_samples > 1
        if not bytes_left and not samples_left:
            return None
        next_one = replace(self, halvings=self.halvings + 1)
        if bytes_left and (self.halvings % 2 == 0 or not samples_left):
            return replace(next_one, max_bytes=max(LEAST_BYTES, self.max_bytes // 2))
        return replace(next_one, num_samples=-(-self.num_samples // 2))

    def __str__(self) -> str:
        samples = f"{self.num_samples} sample{'s' if self.num_samples > 1 else ''}"
        return f"{samples} with transients of at most {self.max_bytes / 2**20:.4g} MiB"


class Fitting:
    """Work in portions that get smaller, once and for all, whenever one does not fit in the device's memory.

    Args:
        portion: The first to try.
        device: As torch names it, for the user.
    """

    def __init__(self, portion: Portion, device: str) -> None:
        self.portion = portion
        """The one to try next."""
        self._first = portion
        self._device = device

    def limit(self, num_samples: int) -> None:
        """From here on at most so many samples at a time."""
        self.portion = replace(self.portion, num_samples=min(num_samples, self.portion.num_samples))

    def finish(self, work: Callable[[Portion], T]) -> T:
        """`attempt`, until there is a result."""
        found = self.attempt(work)
        while found is None:
            found = self.attempt(work)
        return found

    def attempt(self, work: Callable[[Portion], T]) -> T | None:
        """The result of ``work(portion)``, or None if memory ran out: then `portion` is smaller, and to be tried again.

        Raises:
            InputError: If memory ran out and there is no smaller portion; names what was tried.
        """
        try:
            return work(self.portion)
        except torch.OutOfMemoryError as error:
            reason = str(error).strip().partition("\n")[0]
        # Not within the handler: the exception's traceback would keep alive what filled the memory.
        gc.collect()
        torch.cuda.empty_cache()
        smaller = self.portion.halved()
        if smaller is None:
            raise InputError(
                f"The device {self._device!r} ran out of memory with {self.portion} at a time, after {self._first} and "
                f"{self.portion.halvings} halvings: {reason}",
                "Use a device with more memory or one that no other process uses, smaller inputs, fewer trainable "
                "parameters (Task.trainable), or --precision bfloat16.",
            )
        self.portion = smaller
        return None
