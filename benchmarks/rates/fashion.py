"""A ResNet, a MobileNet and a vision transformer, pre-trained here on half of the classes of Fashion-MNIST.

No package ships small weights of these families, so each is trained for half a minute on five classes, kept under
``runs/rates/pretrained``, and fine-tuned on the other five. Items are flipped
and shifted afresh each time they are read. Fashion-MNIST comes with Debian: ``apt-get install dataset-fashion-mnist``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from benchmarks.accuracy.tasks import fashion_pixels
from raytt.examples._extras import require
from raytt.task.task import Task

PRETRAINED = Path(__file__).parents[2] / "runs/rates/pretrained"
CLASSES = 5
"""Classes 0 to 4 for pre-training, 5 to 9 for fine-tuning."""
PRETRAINING_IMAGES, PRETRAINING_STEPS, PRETRAINING_BATCH = 6000, 400, 64
TRAIN, VALIDATION = 400, 300
SHIFT = 2


class Fashion(Dataset[tuple[Tensor, Tensor]]):
    """Images of five classes, (1, 28, 28), with labels 0 to 4; ``train``: flipped and shifted afresh."""

    def __init__(self, *, prefix: str, first: int, count: int, train: bool) -> None:
        pixels, labels = fashion_pixels(prefix)
        chosen = np.flatnonzero((labels >= first) & (labels < first + CLASSES))[:count]
        # Mean and standard deviation of Fashion-MNIST's training pixels.
        self.images = (torch.from_numpy(pixels[chosen].astype(np.float32) / 255.0).unsqueeze(1) - 0.2860) / 0.3530
        self.labels = torch.from_numpy(labels[chosen].astype(np.int64)) - first
        self.train = train

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image = self.images[index]
        if self.train:
            down, along = torch.randint(-SHIFT, SHIFT + 1, (2,)).tolist()
            image = torch.roll(image, (down, along), (1, 2))
            if torch.rand(()) < 0.5:
                image = image.flip(2)
        return image, self.labels[index]


def _resnet(library: Any) -> nn.Module:
    """Basic blocks, 2 + 2 + 2, 16 to 64 channels: 0.18 million weights."""
    config = library.ResNetConfig(
        num_channels=1, embedding_size=16, hidden_sizes=[16, 32, 64], depths=[2, 2, 2], layer_type="basic", num_labels=5
    )
    found: nn.Module = library.ResNetForImageClassification(config)
    return found


def _mobilenet(library: Any) -> nn.Module:
    """Inverted residuals with depthwise convolutions, a quarter of the usual channels: 0.24 million weights."""
    config = library.MobileNetV2Config(
        num_channels=1,
        image_size=28,
        depth_multiplier=0.25,
        output_stride=16,
        classifier_dropout_prob=0.2,
        num_labels=5,
    )
    network: Any = library.MobileNetV2ForImageClassification(config)
    return network.to(memory_format=torch.channels_last)  # type: ignore[no-any-return]


def _vit(library: Any) -> nn.Module:
    """Four layers of width 64 over patches of 4 pixels, with dropout."""
    config = library.ViTConfig(
        num_channels=1,
        image_size=28,
        patch_size=4,
        hidden_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=128,
        hidden_dropout_prob=0.1,
        num_labels=5,
    )
    found: nn.Module = library.ViTForImageClassification(config)
    return found


ARCHITECTURES: dict[str, Callable[[Any], nn.Module]] = {"resnet": _resnet, "mobilenet": _mobilenet, "vit": _vit}


def forward(model: nn.Module, images: Tensor) -> Tensor:
    """Logits, (n, 5)."""
    # Depthwise convolutions are twice as fast in this layout; a view for one channel, hence for every network.
    logits: Tensor = model(images.contiguous(memory_format=torch.channels_last)).logits
    return logits


def _pretrain(name: str) -> nn.Module:
    data = Fashion(prefix="train", first=0, count=PRETRAINING_IMAGES, train=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = ARCHITECTURES[name](require("transformers"))
        optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=PRETRAINING_STEPS)
        network.train()
        for _ in range(PRETRAINING_STEPS):
            chosen = torch.randint(len(data), (PRETRAINING_BATCH,))
            loss = nn.functional.cross_entropy(forward(network, data.images[chosen]), data.labels[chosen])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    print(f"{name}: pre-trained to a loss of {loss.item():.3f}", flush=True)
    return network


@cache
def pretrained(name: str) -> dict[str, Tensor]:
    """Weights and statistics of the pre-trained network, made once and kept."""
    file = PRETRAINED / f"{name}.pt"
    if not file.exists():
        state = _pretrain(name).state_dict()
        file.parent.mkdir(parents=True, exist_ok=True)
        partly = file.with_suffix(".partial")
        torch.save(state, partly)
        os.replace(partly, file)
    found: dict[str, Tensor] = torch.load(file)
    return found


def build_model(name: str) -> nn.Module:
    """The pre-trained network with a fresh head for the other five classes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = ARCHITECTURES[name](require("transformers"))
    head = {"resnet": "classifier.1", "mobilenet": "classifier", "vit": "classifier"}[name]
    kept = {k: v for k, v in pretrained(name).items() if not k.startswith(head + ".")}
    network.load_state_dict(kept, strict=False)
    return network


def fashion_task(name: str) -> Task:
    """Fine-tuning one of `ARCHITECTURES` in training mode."""
    return Task(
        name=name,
        model=partial(build_model, name),
        data=partial(Fashion, prefix="train", first=CLASSES, count=TRAIN, train=True),
        validation=partial(Fashion, prefix="t10k", first=CLASSES, count=VALIDATION, train=False),
        forward=forward,
        loss="cross_entropy",
    )
