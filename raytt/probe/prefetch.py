"""Micro-batches on their way to the device: on CUDA devices the next one is read while one is computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from raytt.probe.reading import Batch, Cut
from raytt.training.datasets import to_device


class Feed:
    """Reads micro-batches; a context, at the end of which nothing is being read any more.

    On a CUDA device one thread reads them, one ahead, into pinned memory, from which copies do not make the host wait;
    a data set is never read by two threads at a time. The first micro-batch is always waited for. On other devices
    nothing is read before it is asked for, and in the caller's thread.

    Args:
        read: Gives a micro-batch on the host.
        device: Where inputs shall go.
    """

    def __init__(self, read: Callable[[Cut], Batch], device: str | torch.device) -> None:
        self._read = read
        self._device = device
        ahead = torch.device(device).type == "cuda"
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="raytt-read") if ahead else None
        self._next: tuple[Cut, Future[Batch]] | None = None

    def __enter__(self) -> Feed:
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)

    def get(self, cut: Cut, following: Cut | None) -> Batch:
        """A micro-batch, inputs on the device and targets on the host.

        Args:
            cut: The one wanted.
            following: The one that will probably be asked for next; if it is not, it is dropped.
        """
        if self._thread is None:
            inputs, targets = self._read(cut)
            return to_device(inputs, self._device), targets
        known, reading = self._next or (None, None)
        if reading is None or known != cut:
            reading = self._thread.submit(self._read_pinned, cut)
        inputs, targets = reading.result()
        self._next = None if following is None else (following, self._thread.submit(self._read_pinned, following))
        return to_device(inputs, self._device, non_blocking=True), targets

    def _read_pinned(self, cut: Cut) -> Batch:
        inputs, targets = self._read(cut)
        if isinstance(inputs, Mapping):
            return {name: _pin(tensor) for name, tensor in inputs.items()}, targets
        return _pin(inputs), targets


def _pin(tensor: Tensor) -> Tensor:
    """The tensor in pinned memory, unless the user's data set puts it on a device by itself."""
    return tensor.pin_memory() if tensor.device.type == "cpu" else tensor
