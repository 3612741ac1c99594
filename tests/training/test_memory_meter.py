from __future__ import annotations

from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from raytt.training.memory_meter import MemoryMeter

KIB = 1024


def _zeros(kib: int) -> torch.Tensor:
    return torch.zeros(kib * KIB // 4)


def test_storages_count_once_and_until_they_are_freed() -> None:
    with MemoryMeter() as meter:
        first = _zeros(8)
        view = first.view(2, -1)[1]
        assert meter.live == 8 * KIB
        second = _zeros(4)
        assert meter.live == 12 * KIB
        del first
        assert meter.live == 12 * KIB
        del view
        assert meter.live == 4 * KIB
        assert meter.peak == 12 * KIB
        meter.restart()
        assert meter.peak == 4 * KIB
        del second
    assert meter.live == 0


def test_what_stood_before_is_held() -> None:
    weights = _zeros(16)
    meter = MemoryMeter()
    meter.hold({"a": [weights, weights[1:]]})
    meter.hold(weights)
    assert meter.live == 16 * KIB
    with meter:
        weights.add_(1.0)
        assert meter.peak == 16 * KIB
        weights + 1.0
    assert (meter.live, meter.peak) == (16 * KIB, 32 * KIB)


def test_tensors_without_contents_count_alike() -> None:
    peaks = []
    for fake in (False, True):
        with FakeTensorMode() if fake else torch.no_grad(), MemoryMeter() as meter:
            x = _zeros(8)
            y = (x + x) * x
            del y
        peaks.append(meter.peak)
    # x, x + x, and their product.
    assert peaks == [24 * KIB, 24 * KIB]


def test_activations_are_alive_until_the_backward_pass_has_used_them() -> None:
    weight = torch.ones(1, requires_grad=True)
    with MemoryMeter() as meter:
        x = _zeros(8)
        loss = ((x * weight).sin().cos()).sum()
        # x, x w and its sine are saved; the cosine is not.
        assert meter.live == 24 * KIB + 4
        loss.backward()  # type: ignore[no-untyped-call]
        del loss, x
    assert meter.live == weight.grad.nbytes  # type: ignore[union-attr]


def test_working_space_counts_only_while_its_operation_runs() -> None:
    def workspace(func: Any, args: tuple[Any, ...], kwargs: Any) -> int:
        return 100 * KIB if func is torch.ops.aten.mul.Tensor else 0

    with MemoryMeter(workspace) as meter:
        x = _zeros(8)
        y = x * x
        z = _zeros(4)
    assert meter.live == meter.peak == x.nbytes + y.nbytes + z.nbytes
    assert meter.peak_with_workspace == 116 * KIB
