"""What optimizers multiply gradients with, against torch's own steps."""

from __future__ import annotations

import math

import pytest
import torch

from raytt.task.candidate import Candidate
from raytt.task.optimizers import OPTIMIZERS, Adafactor, Adaptive, Lion, WeightTensor


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
    pair = WeightTensor(shape=(2,), rms=1.0, resolution=1e-7)
    scale = Candidate(optimizer=name, lr=0.1).optimizer.descent_scale(torch.zeros(2), torch.zeros(2), [pair])
    assert scale is None or bool(torch.isfinite(scale).all())


def test_the_mean_sign_of_lion_is_the_scaled_gradient() -> None:
    """Many weights of each kind on a stationary stream, once the moving average has settled."""
    generator = torch.Generator().manual_seed(0)
    mean, spread = torch.tensor([[1.0], [0.2], [0.05]]), torch.tensor([[0.1], [1.0], [2.0]])
    weights = torch.nn.Parameter(torch.zeros(3, 20_000))
    optimizer = Lion().torch([weights], 1.0)
    settled = weights.detach().clone()
    for step in range(600):
        weights.grad = mean + spread * torch.randn(3, 20_000, generator=generator)
        optimizer.step()
        if step == 299:
            settled = weights.detach().clone()
    moved = (settled - weights.detach()).mean(dim=1, keepdim=True) / 300
    torch.testing.assert_close(moved, Lion().descent_scale(mean.square(), spread.square()) * mean, rtol=0.05, atol=0.0)


def test_the_sign_has_limits_without_noise_and_without_a_mean() -> None:
    optimizer = Lion()
    mean, variance = torch.tensor([4.0, 0.0, 1e-12]), torch.tensor([0.0, 9.0, 9.0])
    noisy = (2.0 / math.pi) ** 0.5 / (3.0 * optimizer.averaged_variance**0.5)
    torch.testing.assert_close(optimizer.descent_scale(mean, variance), torch.tensor([0.5, noisy, noisy]))


@pytest.mark.parametrize("betas", [(0.9, 0.99), (0.5, 0.9)])
def test_the_variance_of_the_average_is_that_of_its_weights(betas: tuple[float, float]) -> None:
    first, second = betas
    weights = first * (1.0 - second) * second ** torch.arange(4000, dtype=torch.float64)
    expected = (1.0 - first) ** 2 + float(weights.square().sum())
    assert Lion(betas=betas).averaged_variance == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("size", [0.5, 1e-4], ids=["own size", "least size"])
def test_the_mean_displacement_of_adafactor_is_the_scaled_gradient(size: float) -> None:
    """Torch's steps on a stationary stream, at weights that are put back: a matrix, its transpose's shape, a vector."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(60, 80), (4, 30, 20), (1000,)]
    means = [0.3 * torch.randn(shape, generator=generator) for shape in shapes]
    # Noise of factored variance, as is assumed of no gradient: the mean one is not.
    spreads = [0.1 + torch.rand(shape[-1], generator=generator) * 2.0 for shape in shapes]
    weights = [torch.nn.Parameter(torch.full(shape, size)) for shape in shapes]
    own = Adafactor(d=1.0)
    optimizer = own.torch(weights, 1e-3)
    moved = [torch.zeros(shape) for shape in shapes]
    for step in range(1000):
        for weight, mean, spread in zip(weights, means, spreads, strict=True):
            weight.grad = mean + spread * torch.randn(mean.shape, generator=generator)
        optimizer.step()
        for weight, sum_moved in zip(weights, moved, strict=True):
            with torch.no_grad():
                # Once second moments have settled.
                sum_moved += (size - weight) * (step >= 500)
                weight.fill_(size)
    tensors = [WeightTensor(shape=shape, rms=size, resolution=torch.finfo(torch.float32).eps) for shape in shapes]
    flat = torch.cat([mean.reshape(-1) for mean in means])
    noise = torch.cat([spread.expand(shape).reshape(-1) for spread, shape in zip(spreads, shapes, strict=True)])
    scale = own.descent_scale(flat.square(), noise.square(), tensors)
    start = 0
    for mean, sum_moved in zip(means, moved, strict=True):
        part = scale[start : start + mean.numel()].view(mean.shape)
        start += mean.numel()
        real, predicted = float((sum_moved * mean).sum()) / (500 * 1e-3), float((part * mean.square()).sum())
        assert real == pytest.approx(predicted, rel=0.03)


def test_adafactor_needs_the_tensors_of_its_coordinates() -> None:
    with pytest.raises(ValueError, match="tensors of 0 weights for a gradient of 2"):
        Adafactor().descent_scale(torch.ones(2), torch.ones(2))
