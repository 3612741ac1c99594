"""Small problems in training mode whose gradients are known in closed form, or cheap by explicit loops."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from raytt.task.task import Task

NUM_SAMPLES = 60
CLASSES = 3


class Weights(nn.Module):
    """f(x) = x · w: with squared error a quadratic loss."""

    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.w = nn.Parameter(start.clone())

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.w.unsqueeze(1)


def regression(num_samples: int = NUM_SAMPLES, width: int = 6) -> tuple[Tensor, Tensor]:
    """Inputs (N, width) and noisy linear targets (N, 1), in double precision."""
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(num_samples, width, generator=generator, dtype=torch.float64)
    true = torch.linspace(1.0, 2.0, width, dtype=torch.float64)
    noise = 0.3 * torch.randn(num_samples, generator=generator, dtype=torch.float64)
    return x, (x @ true + noise).unsqueeze(1)


def regression_task(num_samples: int = NUM_SAMPLES, width: int = 6) -> Task:
    """Linear least squares from w = 0."""
    return Task(
        name="regression",
        model=lambda: Weights(torch.zeros(width, dtype=torch.float64)),
        data=lambda: regression(num_samples, width),
        loss="squared_error",
    )


class Jittered(Dataset[tuple[Tensor, Tensor]]):
    """Items drawn afresh each time they are read: noise from torch's global generator is added."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(2)
        self._targets = torch.arange(NUM_SAMPLES) % CLASSES
        centres = torch.randn(CLASSES, 8, generator=generator)
        self._inputs = centres[self._targets] + 0.5 * torch.randn(NUM_SAMPLES, 8, generator=generator)

    def __len__(self) -> int:
        return NUM_SAMPLES

    def __getitem__(self, position: int) -> tuple[Tensor, Tensor]:
        return self._inputs[position] + 0.1 * torch.randn(8), self._targets[position]


def noisy_network() -> nn.Module:
    """With batch norm and dropout."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(8, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.3), nn.Linear(12, CLASSES))


def noisy_task() -> Task:
    """Batch norm, dropout and augmentation at once."""
    return Task(name="noisy", model=noisy_network, data=lambda: Jittered())
