"""Inner loops of the probe on processors, compiled by Numba; on other devices torch does the same work.

They exist since what limits the probe of a small network is moving D numbers per row through memory: here a row's
weight gradient is never written down, products go straight into the sketch. Each row's bits depend on that row alone.

Notation: n samples, C outputs, R = ``proj_dim``, U units, P positions, K inputs of a layer.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, NamedTuple, cast

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_PART = 1 << 20
"""Multiplications worth a thread of their own."""


def _compiled(function: Callable[..., None]) -> Callable[..., None]:
    """Compiled when first called, which takes seconds, and kept on disk for the next process if that can be."""
    # Fused multiply-add, but no reordering of sums: the bits are those of the loops as written.
    options: dict[str, Any] = {"nogil": True, "fastmath": {"contract", "nsz"}}
    try:
        return cast(Callable[..., None], numba.njit(cache=True, **options)(function))
    except RuntimeError:  # neither the package's folder nor the user's can be written to
        return cast(Callable[..., None], numba.njit(**options)(function))


class Geometry(NamedTuple):
    """Of a convolution in two dimensions, down then right."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    before: tuple[int, int]
    """Zeros above and left of the image."""


def add_values(buffer: Tensor, coefficients: Tensor, shifts: NDArray[np.int64], start: int, values: Tensor) -> None:
    """Add values times their coefficients to the shifted blocks of R coordinates (see `CountSketch`).

    Args:
        buffer: Changed in place, shape ``(..., 2R)``, last axis dense.
        coefficients: Of these coordinates, shape ``(k,)``.
        shifts: Of each block, R = half of the buffer's length.
        start: Position of ``values[..., 0]`` in the parameter.
        values: Shape ``(..., k)``.
    """
    flat, origins = _flat(buffer)
    rows = values.reshape(-1, values.shape[-1]).contiguous().numpy()
    given = (coefficients.contiguous().numpy(), shifts, buffer.shape[-1] // 2, start)
    _spread(lambda a, b: _add_values(flat, origins[a:b], *given, rows[a:b]), len(rows), rows.size)


def add_outer(
    buffer: Tensor, coefficients: Tensor, shifts: NDArray[np.int64], start: int, left: Tensor, right: Tensor
) -> None:
    """As `add_values` of Σ_p left[i, c, u, p] · right[i, p, k], coordinate u·K + k, without making these values.

    Args:
        buffer: Changed in place, shape ``(n, C, 2R)``, last axis dense.
        coefficients: Of these coordinates, shape ``(U·K,)``.
        shifts: Of each block.
        start: Position of the first coordinate in the parameter.
        left: Shape ``(n, C, U, P)``.
        right: Shape ``(n, P, K)``.
    """
    flat, origins = _flat(buffer)
    a = left.permute(0, 2, 3, 1).contiguous().numpy()
    b = right.contiguous().numpy()
    grid = origins.reshape(buffer.shape[:2])
    given = (coefficients.contiguous().numpy(), shifts, buffer.shape[-1] // 2, start)
    _spread(lambda i, j: _add_outer(flat, grid[i:j], *given, a[i:j], b[i:j]), len(a), a.size * b.shape[2])


def depthwise(grads: Tensor, inputs: Tensor, geometry: Geometry) -> Tensor:
    """Weight gradients of a convolution that treats each channel alone, Σ over frames f and positions y, x of

    grads[i, c, f, y, x, g] · inputs[i, f, y·stride + a·dilation − top, x·stride + b·dilation − left, g]

    for each sample i, output c, channel g and weight (a, b) of the kernel; inputs outside the image are 0.

    Args:
        grads: Of the results, shape ``(n, C, frames, height, width, channels)``.
        inputs: Shape ``(n, frames, height, width, channels)``.
        geometry: Of the convolution.

    Returns:
        Shape ``(n, C, channels · kernel's height · kernel's width)``.
    """
    a, b = grads.contiguous().numpy(), inputs.contiguous().numpy()
    size = geometry.kernel[0] * geometry.kernel[1]
    out = grads.new_empty(*grads.shape[:2], grads.shape[-1] * size)
    found = out.numpy()
    _spread(lambda i, j: _depthwise(a[i:j], b[i:j], found[i:j], *geometry), len(a), a.size * size)
    return out


def scale_and_shift(grads: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
    """Σ_p grads[i, c, p, g] · factor[i, p, g] and Σ_p grads[i, c, p, g], in one pass over memory.

    Args:
        grads: Shape ``(n, C, P, channels)``.
        factor: Shape ``(n, P, channels)``.

    Returns:
        Two of shape ``(n, C, channels)``.
    """
    a, b = grads.contiguous().numpy(), factor.contiguous().numpy()
    out = grads.new_zeros(2, *grads.shape[:2], grads.shape[-1])
    products, sums = out.numpy()
    _spread(lambda i, j: _scale_and_shift(a[i:j], b[i:j], products[i:j], sums[i:j]), len(a), a.size)
    return out[0], out[1]


def _flat(buffer: Tensor) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
    """The buffer's memory as one axis, and where each row begins: compiled loops are fast on dense arrays alone."""
    origins = np.zeros(1, np.int64)
    for size, stride in zip(buffer.shape[:-1], buffer.stride()[:-1], strict=True):
        origins = (origins[:, None] + np.arange(size, dtype=np.int64) * stride).reshape(-1)
    return buffer.as_strided((int(origins[-1]) + buffer.shape[-1],), (1,)).numpy(), origins


def _spread(work: Callable[[int, int], None], count: int, size: int) -> None:
    """``work`` on ranges of 0…count, over torch's number of threads if there is enough of it."""
    threads = min(torch.get_num_threads(), count, 1 + size // _PART)
    if threads <= 1:
        work(0, count)
        return
    bounds = [count * t // threads for t in range(threads + 1)]
    list(_pool(threads).map(work, bounds[:-1], bounds[1:]))


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="raytt-probe")


@_compiled
def _add_values(flat, origins, coefficients, shifts, proj_dim, start, values):  # type: ignore[no-untyped-def]
    for r in range(len(origins)):
        done = 0
        while done < len(coefficients):
            block = (start + done) // proj_dim
            offset = start + done - block * proj_dim
            size = min(proj_dim - offset, len(coefficients) - done)
            first = origins[r] + shifts[block] + offset
            into = flat[first : first + size]
            factors, new = coefficients[done : done + size], values[r, done : done + size]
            for k in range(size):
                into[k] += factors[k] * new[k]
            done += size


@_compiled
def _add_outer(flat, origins, coefficients, shifts, proj_dim, start, left, right):  # type: ignore[no-untyped-def]
    n, units, positions, outputs = left.shape
    inputs = right.shape[2]
    signed = np.empty((positions, inputs), right.dtype)
    for i in range(n):
        for u in range(units):
            # Once for all outputs of the sample.
            for p in range(positions):
                for k in range(inputs):
                    signed[p, k] = coefficients[u * inputs + k] * right[i, p, k]
            done = 0
            while done < inputs:
                block = (start + u * inputs + done) // proj_dim
                offset = start + u * inputs + done - block * proj_dim
                size = min(proj_dim - offset, inputs - done)
                for c in range(outputs):
                    first = origins[i, c] + shifts[block] + offset
                    into = flat[first : first + size]
                    p = 0
                    while p + 4 <= positions:  # four at a time: a quarter of the passes over the buffer
                        g0, g1, g2, g3 = (
                            left[i, u, p, c],
                            left[i, u, p + 1, c],
                            left[i, u, p + 2, c],
                            left[i, u, p + 3, c],
                        )
                        x0, x1 = signed[p, done : done + size], signed[p + 1, done : done + size]
                        x2, x3 = signed[p + 2, done : done + size], signed[p + 3, done : done + size]
                        for k in range(size):
                            into[k] += g0 * x0[k] + g1 * x1[k] + g2 * x2[k] + g3 * x3[k]
                        p += 4
                    while p < positions:
                        g, x = left[i, u, p, c], signed[p, done : done + size]
                        for k in range(size):
                            into[k] += g * x[k]
                        p += 1
                done += size


@_compiled
def _depthwise(grads, inputs, out, kernel, stride, dilation, before):  # type: ignore[no-untyped-def]
    n, outputs, frames, rows, columns, channels = grads.shape
    height, width = inputs.shape[2:4]
    across, down = stride[1], stride[0]
    sums = np.empty((kernel[0] * kernel[1], channels), grads.dtype)
    for i in range(n):
        for c in range(outputs):
            sums[:] = 0.0
            for f in range(frames):
                for y in range(rows):
                    for a in range(kernel[0]):
                        from_top = y * down + a * dilation[0] - before[0]
                        if from_top < 0 or from_top >= height:
                            continue
                        line, given = inputs[i, f, from_top], grads[i, c, f, y]
                        for b in range(kernel[1]):
                            shift = b * dilation[1] - before[1]
                            x = max(0, -(shift // across))  # the first that does not read left of the image
                            end = min(columns, (width - 1 - shift) // across + 1)
                            into = sums[a * kernel[1] + b]
                            while x + 4 <= end:  # four at a time: a quarter of the passes over the sums
                                at = x * across + shift
                                g0, g1, g2, g3 = given[x], given[x + 1], given[x + 2], given[x + 3]
                                v0, v1, v2, v3 = (
                                    line[at],
                                    line[at + across],
                                    line[at + 2 * across],
                                    line[at + 3 * across],
                                )
                                for k in range(channels):
                                    into[k] += g0[k] * v0[k] + g1[k] * v1[k] + g2[k] * v2[k] + g3[k] * v3[k]
                                x += 4
                            while x < end:
                                g, v = given[x], line[x * across + shift]
                                for k in range(channels):
                                    into[k] += g[k] * v[k]
                                x += 1
            row = out[i, c]
            for k in range(channels):
                for p in range(len(sums)):
                    row[k * len(sums) + p] = sums[p, k]


@_compiled
def _scale_and_shift(grads, factor, products, sums):  # type: ignore[no-untyped-def]
    n, outputs, positions, channels = grads.shape
    for i in range(n):
        for c in range(outputs):
            product, total = products[i, c], sums[i, c]
            p = 0
            while p + 4 <= positions:
                g0, g1, g2, g3 = grads[i, c, p], grads[i, c, p + 1], grads[i, c, p + 2], grads[i, c, p + 3]
                x0, x1, x2, x3 = factor[i, p], factor[i, p + 1], factor[i, p + 2], factor[i, p + 3]
                for k in range(channels):
                    product[k] += g0[k] * x0[k] + g1[k] * x1[k] + g2[k] * x2[k] + g3[k] * x3[k]
                    total[k] += g0[k] + g1[k] + g2[k] + g3[k]
                p += 4
            while p < positions:
                g, x = grads[i, c, p], factor[i, p]
                for k in range(channels):
                    product[k] += g[k] * x[k]
                    total[k] += g[k]
                p += 1
