"""Real pre-trained networks: every parameter takes the fast route, and its rows are those of autograd."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from raytt.probe.jacobian import jacobian_rows
from raytt.probe.layers.use import Budget
from raytt.probe.plan import make_plan
from raytt.probe.sketch import CountSketch
from raytt.training.model import PreparedModel
from tests.support.probe_reference import MiniLM, naive_jacobian, network, real_efficientnet

SKETCH = CountSketch(512, 0)
BUDGET = Budget(max_bytes=1 << 26)


def sketched(net: PreparedModel, jacobian: Tensor) -> Tensor:
    buffer = torch.zeros(*jacobian.shape[:2], SKETCH.buffer_dim)
    sizes = [p.numel() for p in net.trainable.values()]
    for name, part in zip(net.trainable, jacobian.split(sizes, dim=-1), strict=True):
        SKETCH.accumulate(buffer, name, 0, part)
    return SKETCH.finish(buffer)


def compare(net: PreparedModel, inputs: Any, num_samples: int) -> None:
    plan = make_plan(net, inputs, num_samples, BUDGET)
    assert not plan.generic
    result = jacobian_rows(net, inputs, plan, SKETCH, BUDGET)

    jacobian = naive_jacobian(net, inputs)
    expected = sketched(net, jacobian)
    # Single precision through fifty layers, sums of millions of terms: about 1e-5 of a row's norm is rounding.
    error = (result.rows - expected).norm(dim=-1) / expected.norm(dim=-1)
    assert float(error.max()) < 1e-4
    weights = torch.cat([p.detach().reshape(-1) for p in net.trainable.values()])
    scale = float(jacobian.norm(dim=-1).max() * weights.norm())
    torch.testing.assert_close(result.radial, jacobian @ weights, rtol=1e-3, atol=1e-6 * scale)
    # The sketch keeps norms within four standard deviations √(2/R).
    norms = result.rows.norm(dim=-1) / jacobian.norm(dim=-1)
    assert float((norms.square() - 1).abs().max()) < 4 * (2 / SKETCH.proj_dim) ** 0.5


def test_efficientnet_lite0() -> None:
    net = network(real_efficientnet(3))
    compare(net, torch.randn(3, 3, 40, 40, generator=torch.Generator().manual_seed(0)), 3)


@pytest.mark.parametrize("attention", ["default", "eager"])
def test_minilm(attention: str) -> None:
    options = {} if attention == "default" else {"attn_implementation": attention}
    net = network(MiniLM(2, **options))
    generator = torch.Generator().manual_seed(0)
    length = torch.tensor([6, 3, 5])
    mask = (torch.arange(6) < length.unsqueeze(1)).long()
    ids = torch.randint(1000, 20000, (3, 6), generator=generator) * mask
    compare(net, {"input_ids": ids, "attention_mask": mask}, 3)
