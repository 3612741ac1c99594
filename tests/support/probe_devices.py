"""A worker on a device that seems to have little memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from raytt.probe.settings import ProbeSettings
from raytt.probe.shard import Shard
from raytt.probe.worker import ProbeWorker
from raytt.task.task import Task
from tests.support.probe_reference import randomized

MIB = 1 << 20
FULL = "CUDA out of memory. Tried to allocate 2.00 GiB.\nOf the allocated memory …"
NUM = 21
INDEX = np.arange(NUM)
SETTINGS = ProbeSettings(proj_dim=32, block_size=8, max_chunk_bytes=64 * MIB)


def _model() -> nn.Module:
    body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.SiLU(), nn.Conv2d(8, 8, 3, groups=8))
    return randomized(nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))).float()


def _data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(NUM, 3, 6, 6, generator=generator), torch.arange(NUM) % 4


class SmallDevice:
    """A forward pass that runs out of memory above so many samples, with a graph only."""

    def __init__(self, most: float = float("inf")) -> None:
        self.most = most

    def __call__(self, model: nn.Module, inputs: Tensor) -> Tensor:
        if torch.is_grad_enabled() and len(inputs) > self.most:
            raise torch.OutOfMemoryError(FULL)
        outputs: Tensor = model(inputs)
        return outputs


def a_worker(forward: Any = None, settings: ProbeSettings = SETTINGS) -> ProbeWorker:
    return ProbeWorker(Task(mode="eval", name="t", model=_model, data=_data(), forward=forward), settings, INDEX)


def assert_close(have: Shard, want: Shard) -> None:
    """Equal but for other shapes of matrix products."""
    for name in ("outputs", "rows", "radial"):
        wanted = getattr(want, name)
        np.testing.assert_allclose(getattr(have, name), wanted, rtol=1e-5, atol=2e-6 * np.abs(wanted).max())
    np.testing.assert_array_equal(have.targets, want.targets)
