"""What kernels of the processor at hand allocate for themselves while they run, found out by trying them one by one.

A convolution of oneDNN copies inputs, weights and gradients to layouts of its own (a depthwise kernel of 5 × 5 took 257
times the room of its weights on a processor with AVX-512), which shapes alone do not tell. So each kernel that does
such things runs once for every kind of arguments that a step gives it: on zeros of the same shapes, strides and dtypes,
and with at most a few samples. What it allocates and frees again is read from torch's own profiler.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

_ATEN = torch.ops.aten
BATCHED = {
    _ATEN.convolution.default: (0,),
    _ATEN.convolution_backward.default: (0, 1),
    _ATEN._scaled_dot_product_flash_attention_for_cpu.default: (0, 1, 2),
    _ATEN._scaled_dot_product_flash_attention_for_cpu_backward.default: (0, 1, 2, 3, 4, 5),
}
"""Operations whose kernels need room of their own, and which of their arguments have a row per sample."""
TRIED = (16, 20)
"""Samples of a trial where there are more; what many need lies on the straight line through both. Below 16 samples
torch takes other kernels for convolutions of 1 × 1."""


class KernelWorkspace:
    """Working space of an operation with given arguments, bytes; 0 for those not in `BATCHED`."""

    def __init__(self) -> None:
        self._found: dict[Any, int] = {}

    def __call__(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int:
        """Bytes that ``func(*args, **kwargs)`` needs for itself; the arguments may be without contents."""
        batched = BATCHED.get(func)
        if batched is None:
            return 0
        key = (func, tuple(map(_kind, args)), tuple(sorted((name, repr(value)) for name, value in kwargs.items())))
        if key not in self._found:
            samples = args[batched[0]].shape[0]
            if samples <= TRIED[-1]:
                needed = float(_tried(func, args, kwargs, (), samples))
            else:
                low, high = (_tried(func, args, kwargs, batched, count) for count in TRIED)
                needed = high + (samples - TRIED[1]) * (high - low) / (TRIED[1] - TRIED[0])
            self._found[key] = max(0, int(needed))
        return self._found[key]


def _kind(arg: Any) -> Any:
    return (arg.dtype, tuple(arg.shape), arg.stride()) if isinstance(arg, Tensor) else repr(arg)


def _tried(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], batched: tuple[int, ...], samples: int) -> int:
    """Bytes allocated at most, less those of the results, with ``samples`` rows in the arguments ``batched``."""
    with _disable_current_modes(), torch.no_grad(), torch.autocast("cpu", enabled=False):
        made = [
            _zeros(arg, samples if place in batched else None) if isinstance(arg, Tensor) else arg
            for place, arg in enumerate(args)
        ]
        config = torch.autograd.ProfilerConfig(  # type: ignore[attr-defined]
            torch.autograd.ProfilerState.CPU,  # type: ignore[attr-defined]
            False,
            True,  # memory
            False,
            False,
            False,
            torch._C._profiler._ExperimentalConfig(),
        )
        torch.autograd._enable_profiler_legacy(config)  # type: ignore[attr-defined]
        try:
            results = func(*made, **kwargs)
        finally:
            records = torch.autograd._disable_profiler_legacy()  # type: ignore[attr-defined]
        del results
    live = peak = 0
    for thread in records:
        for record in thread:
            kind: Any = record.kind()
            if kind == "memory_alloc":
                live += record.cpu_memory_usage()
                peak = max(peak, live)
    return peak - live


def _zeros(like: Tensor, rows: int | None) -> Tensor:
    """Zeros of the same dtype and strides, with another number of rows if one is given."""
    shape = tuple(like.shape) if rows is None else (rows, *like.shape[1:])
    reach = 1 + sum((size - 1) * step for size, step in zip(shape, like.stride(), strict=True))
    return torch.zeros(reach, dtype=like.dtype).as_strided(shape, like.stride())
