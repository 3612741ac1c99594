"""The compiled loops against scalar loops and torch, row by row, and over threads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from raytt.probe import kernels
from raytt.probe.kernels import Geometry, add_outer, add_values, depthwise, scale_and_shift
from raytt.probe.sketch import CountSketch, ScaledSketches, outer_values

R = 37


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Three threads, however little there is to do."""
    monkeypatch.setattr(kernels, "_PART", 1)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def naive(buffer: Tensor, coefficients: Tensor, shifts: list[int], start: int, values: Tensor) -> Tensor:
    """Coordinate by coordinate."""
    expected = buffer.clone()
    for k in range(values.shape[-1]):
        block, offset = divmod(start + k, R)
        expected[..., shifts[block] + offset] += coefficients[k] * values[..., k]
    return expected


SHIFTS = [5, 0, 36, 12, 7, 30, 1, 22, 9, 14, 3]


@pytest.mark.parametrize(("start", "count"), [(0, 1), (0, 37), (36, 2), (20, 200), (100, 300)])
def test_values_land_where_scalar_loops_put_them(start: int, count: int) -> None:
    buffer, values, coefficients = draw(2, 3, 2 * R), draw(2, 3, count, seed=1), draw(count, seed=2)
    expected = naive(buffer, coefficients, SHIFTS, start, values)
    add_values(buffer, coefficients, np.array(SHIFTS), start, values)
    torch.testing.assert_close(buffer, expected, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("positions", [1, 3, 4, 7, 9])
@pytest.mark.parametrize("start", [0, 50])
def test_outer_products_are_those_multiplied_out(positions: int, start: int) -> None:
    left, right = draw(2, 3, 5, positions), draw(2, positions, 41, seed=1)
    buffer, coefficients = draw(2, 3, 2 * R, seed=2), draw(5 * 41, seed=3)
    expected = naive(buffer, coefficients, SHIFTS, start, torch.einsum("icup,ipk->icuk", left, right).flatten(2))
    add_outer(buffer, coefficients, np.array(SHIFTS), start, left, right)
    torch.testing.assert_close(buffer, expected, rtol=1e-12, atol=1e-12)


def test_only_the_given_part_of_a_buffer_changes() -> None:
    # Some samples, some outputs, one of several sketches side by side: the loops see memory as one axis.
    whole, untouched = draw(4, 3, 6 * R), draw(4, 3, 6 * R)
    values, coefficients = draw(2, 2, 90, seed=1), draw(90, seed=2)
    add_values(whole[1:3, 1:, 2 * R : 4 * R], coefficients, np.array(SHIFTS), 3, values)
    part = naive(untouched[1:3, 1:, 2 * R : 4 * R], coefficients, SHIFTS, 3, values)
    untouched[1:3, 1:, 2 * R : 4 * R] = part
    torch.testing.assert_close(whole, untouched, rtol=1e-14, atol=1e-14)


def test_values_in_any_memory_order() -> None:
    values = draw(90, 3, 2).permute(2, 1, 0)
    buffers = torch.zeros(2, 2, 3, 2 * R, dtype=torch.float64)
    coefficients = draw(90, seed=2)
    add_values(buffers[0], coefficients, np.array(SHIFTS), 0, values)
    add_values(buffers[1], coefficients, np.array(SHIFTS), 0, values.contiguous())
    assert torch.equal(buffers[0], buffers[1])


GEOMETRIES = [
    Geometry((3, 3), (1, 1), (1, 1), (1, 1)),
    Geometry((5, 3), (2, 3), (1, 1), (2, 1)),
    Geometry((3, 2), (1, 2), (2, 3), (0, 0)),
    Geometry((5, 5), (1, 1), (1, 1), (2, 2)),
    Geometry((1, 1), (1, 1), (1, 1), (0, 0)),
]


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("size", [(1, 1), (6, 9), (11, 7)])
def test_depthwise_gradients_are_autograds(geometry: Geometry, size: tuple[int, int]) -> None:
    channels, frames, outputs = 6, 2, 3
    layer = nn.Conv2d(
        channels, channels, geometry.kernel, geometry.stride, geometry.before, geometry.dilation, channels, bias=False
    ).double()
    extent = [
        (k - 1) * d + 1 - 2 * b for k, d, b in zip(geometry.kernel, geometry.dilation, geometry.before, strict=True)
    ]
    x = draw(2, frames, channels, *(max(s, e) for s, e in zip(size, extent, strict=True)))
    out = layer(x.flatten(0, 1)).unflatten(0, (2, frames))
    grads = draw(2, outputs, *out.shape[1:], seed=1)
    got = depthwise(grads.permute(0, 1, 2, 4, 5, 3), x.permute(0, 1, 3, 4, 2), geometry)
    for i in range(2):
        for c in range(outputs):
            (expected,) = torch.autograd.grad((out[i] * grads[i, c]).sum(), layer.weight, retain_graph=True)
            torch.testing.assert_close(got[i, c], expected.flatten(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("positions", [1, 4, 6])
def test_scale_and_shift_are_sums_over_positions(positions: int) -> None:
    grads, factor = draw(2, 3, positions, 5), draw(2, positions, 5, seed=1)
    products, sums = scale_and_shift(grads, factor)
    torch.testing.assert_close(products, (grads * factor[:, None]).sum(dim=2))
    torch.testing.assert_close(sums, grads.sum(dim=2))


def everything(rows: slice) -> list[Tensor]:
    """Results of all loops for some samples."""
    left, right = draw(5, 3, 6, 3)[rows].float(), draw(5, 3, 50, seed=1)[rows].float()
    signs, shifts = draw(300, seed=2).sign().float(), np.array(SHIFTS)
    buffers = torch.zeros(2, len(left), 3, 2 * R)
    add_outer(buffers[0], signs, shifts, 11, left, right)
    add_values(buffers[1], signs, shifts, 11, outer_values(left, right))
    images, grads = draw(5, 1, 6, 6, 8, seed=3)[rows].float(), draw(5, 3, 1, 6, 6, 8, seed=4)[rows].float()
    return [
        *buffers,
        depthwise(grads, images, GEOMETRIES[0]),
        *scale_and_shift(grads.flatten(2, 4), images.flatten(1, 3)),
    ]


def test_a_row_has_the_same_bits_in_any_company() -> None:
    together = everything(slice(0, 5))
    for i in range(5):
        for whole, alone in zip(together, everything(slice(i, i + 1)), strict=True):
            assert torch.equal(whole[i], alone[0])


def test_threads_change_no_bit(threads: None) -> None:
    shared = everything(slice(0, 5))
    torch.set_num_threads(1)
    for several, one in zip(shared, everything(slice(0, 5)), strict=True):
        assert torch.equal(several, one)


def test_sketches_of_outer_products_are_those_of_their_values() -> None:
    left, right = draw(2, 3, 8, 2), draw(2, 2, 30, seed=1)
    sketch = CountSketch(64, 3)
    factors = [{"w": draw(300, seed=4)}, {"w": draw(300, seed=5).abs()}]
    for law in (sketch, ScaledSketches(sketch, factors)):
        direct, through = torch.zeros(2, 2, 3, law.buffer_dim, dtype=torch.float64)
        law.accumulate_outer(direct, "w", 40, left, right)
        law.accumulate(through, "w", 40, outer_values(left, right))
        torch.testing.assert_close(direct, through, rtol=1e-12, atol=1e-12)


def test_loops_compile_where_nothing_can_be_kept_on_disk() -> None:
    # Source that lies in no file has no place for a cache, as a package in a folder that cannot be written to.
    found: dict[str, Any] = {}
    exec("def fill(out):\n    for i in range(len(out)):\n        out[i] = i", found)
    out = np.zeros(3)
    kernels._compiled(found["fill"])(out)
    assert out.tolist() == [0.0, 1.0, 2.0]
