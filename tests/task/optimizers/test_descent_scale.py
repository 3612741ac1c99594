"""What optimizers multiply gradients with, against torch's own steps."""

from __future__ import annotations

import pytest
import torch

from raytt.task.candidate import Candidate
from raytt.task.optimizers import OPTIMIZERS, Adaptive


def test_sgd_has_none() -> None:
    assert Candidate(lr=0.1, momentum=0.9).optimizer.descent_scale(torch.ones(2), torch.ones(2)) is None


@pytest.mark.parametrize("name", [kind.name for kind in OPTIMIZERS if issubclass(kind, Adaptive)])
def test_the_mean_displacement_is_the_scaled_gradient(name: str) -> None:
    """Torch's optimizer on a stationary stream of gradients: the mean displacement per step is η p ḡ."""
    generator = torch.Generator().manual_seed(0)
    mean, spread = torch.tensor([1.0, 0.2, 0.01]), torch.tensor([0.1, 1.0, 2.0])
    weights = torch.nn.Parameter(torch.zeros(3))
    candidate = Candidate(optimizer=name, lr=1e-3)
    optimizer = candidate.optimizer.torch([weights], 1e-3)
    steps = 6000
    total = torch.zeros(3)
    for _ in range(steps):
        weights.grad = mean + spread * torch.randn(3, generator=generator)
        total += weights.grad
        optimizer.step()
    scale = candidate.optimizer.descent_scale(mean.square(), spread.square())
    assert scale is not None
    torch.testing.assert_close(-weights.detach() / (1e-3 * steps), scale * total / steps, rtol=0.05, atol=0.005)


@pytest.mark.parametrize("name", OPTIMIZERS.names())
def test_coordinates_without_any_gradient_stay_finite(name: str) -> None:
    scale = Candidate(optimizer=name, lr=0.1).optimizer.descent_scale(torch.zeros(2), torch.zeros(2))
    assert scale is None or bool(torch.isfinite(scale).all())
