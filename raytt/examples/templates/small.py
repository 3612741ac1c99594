"""What would be fine-tuned, and which configurations to compare.

This file runs as it is, in a minute on any machine:

    raytt rank {file}

Replace the network and the data by your own; everything marked with → is yours to change.
"""

from __future__ import annotations

import torch
from ray import tune
from torch import Tensor, nn

import raytt


def model() -> nn.Module:
    """→ Build your network and load its pre-trained weights.

    Called on the workers, so import what it needs in here or above; it must give the same weights on every call.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(20, 64), nn.Tanh(), nn.Linear(64, 5))


def examples(start: int, count: int) -> tuple[Tensor, Tensor]:
    """→ Your data: here, points around five centres. Anything with `len` and items (input, target) will do as well."""
    generator = torch.Generator().manual_seed(1)
    centres = torch.randn(5, 20, generator=generator)
    labels = torch.randint(0, 5, (1000,), generator=generator)
    points = centres[labels] + torch.randn(1000, 20, generator=generator)
    return points[start : start + count], labels[start : start + count]


def train_data() -> tuple[Tensor, Tensor]:
    """What is trained on: raytt probes up to 512 of these samples."""
    return examples(0, 800)


def validation_data() -> tuple[Tensor, Tensor]:
    """Only needed for targets on validation data, such as val_accuracy=0.9."""
    return examples(800, 200)


task = raytt.Task(
    name="small",  # → Names runs and reports.
    model=model,
    data=train_data,
    validation=validation_data,
    loss="cross_entropy",  # → Or "squared_error", raytt.CrossEntropy(label_smoothing=0.1), a function of your own.
    trainable=["*"],  # → Which parameters train, by name: ["*", "!0.*"] freezes the first layer.
)

# → When training is done: 0.1 is a tenth of the initial loss. Or "loss=0.3", "accuracy=0.95", "val_accuracy=0.9",
# "plateau=0.01@3" (falls by less than 1 % in 3 epochs).
target = 0.3

# → Configurations to compare, in Ray Tune's own words. `raytt rank` draws 32 of them unless told otherwise.
search_space = {
    "lr": tune.loguniform(1e-3, 0.3),
    "momentum": tune.choice([0.0, 0.9]),
    "batch_size": tune.choice([16, 32, 64]),
    "schedule": tune.choice(["constant", "cosine"]),
    "max_epochs": 20,  # The most that each may take.
}
