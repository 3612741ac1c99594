"""A small convolutional network with batch norm and dropout on scikit-learn's digits, as people train it."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import Dataset

import raytt

NUM_SAMPLES = 480


def model() -> nn.Module:
    """Two convolutions with batch norm, dropout, a linear layer; the same weights on every call."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, stride=2, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(0.5),
            nn.Linear(256, 10),
        )


class Shifted(Dataset[tuple[Tensor, int]]):
    """Handwritten digits of 8 × 8 pixels, shifted by up to a pixel each time they are read."""

    def __init__(self) -> None:
        found = load_digits()
        self._images = torch.tensor(found.images[:NUM_SAMPLES] / 16.0, dtype=torch.float32).unsqueeze(1)
        self._labels = np.asarray(found.target[:NUM_SAMPLES], dtype=np.int64)

    def __len__(self) -> int:
        return NUM_SAMPLES

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        across = int(torch.randint(-1, 2, (1,)))
        return torch.roll(self._images[index], across, dims=2), int(self._labels[index])


class Held(Dataset[tuple[Tensor, int]]):
    """Digits that are not trained on, as they are."""

    def __init__(self) -> None:
        found = load_digits()
        self._images = torch.tensor(found.images[NUM_SAMPLES:720] / 16.0, dtype=torch.float32).unsqueeze(1)
        self._labels = np.asarray(found.target[NUM_SAMPLES:720], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._images[index], int(self._labels[index])


TASK = raytt.Task(name="shifted", model=model, data=Shifted, mode="train")
