"""Lion's steps against its formula, weight by weight."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from raytt.task.optimizers._torch_lion import TorchLion


def test_steps_are_those_of_the_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(2, 3, generator=generator, dtype=torch.float64)
    weights, scaled = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    groups = [{"params": [weights]}, {"params": [scaled], "lr": 0.3, "weight_decay": 0.0}]
    optimizer = TorchLion(groups, lr=0.1, betas=(0.8, 0.95), weight_decay=0.2)
    expected = [start.flatten().tolist(), start.flatten().tolist()]
    averages = [[0.0] * 6, [0.0] * 6]
    for _ in range(12):
        gradients = [torch.randn(2, 3, generator=generator, dtype=torch.float64) for _ in range(2)]
        weights.grad, scaled.grad = gradients
        optimizer.step()
        for part, (rate, decay) in enumerate(((0.1, 0.2), (0.3, 0.0))):
            for i, g in enumerate(gradients[part].flatten().tolist()):
                direction = math.copysign(1.0, 0.8 * averages[part][i] + 0.2 * g)
                expected[part][i] = (1.0 - rate * decay) * expected[part][i] - rate * direction
                averages[part][i] = 0.95 * averages[part][i] + 0.05 * g
    assert weights.detach().flatten().tolist() == pytest.approx(expected[0], rel=1e-12)
    assert scaled.detach().flatten().tolist() == pytest.approx(expected[1], rel=1e-12)


def test_parameters_without_a_gradient_stay_and_closures_are_called() -> None:
    weight, spare = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = TorchLion([weight, spare], lr=0.1, weight_decay=0.5)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    assert float(optimizer.step(closure).detach()) == 2.0
    torch.testing.assert_close(weight.detach(), torch.full((2,), 0.85))
    assert torch.equal(spare.detach(), torch.ones(2))
