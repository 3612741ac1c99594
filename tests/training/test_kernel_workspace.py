from __future__ import annotations

from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from raytt.training import kernel_workspace
from raytt.training.kernel_workspace import KernelWorkspace

ATEN = torch.ops.aten
REST = (None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1)


def _convolution(samples: int) -> tuple[Any, ...]:
    return (torch.empty(samples, 16, 20, 20), torch.empty(32, 16, 3, 3), *REST)


def test_only_known_operations_are_tried() -> None:
    assert KernelWorkspace()(ATEN.mm.default, (torch.ones(2, 2), torch.ones(2, 2)), {}) == 0


def test_a_trial_is_what_the_profiler_says_of_the_operation_itself() -> None:
    args = _convolution(4)
    found = KernelWorkspace()(ATEN.convolution.default, args, {})
    ATEN.convolution.default(*args)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        result = ATEN.convolution.default(*args)
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]  # type: ignore[union-attr]
    live = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    assert found == peak - result.nbytes


def test_many_samples_follow_from_few() -> None:
    workspace = KernelWorkspace()
    tried = {size: workspace(ATEN.convolution.default, _convolution(size), {}) for size in (16, 20, 48)}
    assert tried[48] == tried[20] + 28 * (tried[20] - tried[16]) // 4
    whole = kernel_workspace._tried(ATEN.convolution.default, _convolution(48), {}, (), 48)
    assert abs(tried[48] - whole) <= 0.02 * whole


def test_arguments_without_contents_and_with_odd_strides_can_be_tried() -> None:
    with FakeTensorMode():
        fake = (torch.empty(3, 20, 20, 16).permute(0, 3, 1, 2), torch.empty(32, 16, 3, 3), *REST)
        expanded = (torch.empty(1, 32, 1, 1).expand(3, 32, 20, 20), *fake[:2], [0], *REST[1:], [True, True, False])
        for func, args in ((ATEN.convolution.default, fake), (ATEN.convolution_backward.default, expanded)):
            assert KernelWorkspace()(func, args, {}) >= 0
