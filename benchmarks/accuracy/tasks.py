"""The tasks of the record, each with the learning-rate scales from which its configurations are built."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from raytt.errors import InputError
from raytt.examples import digits as digits_example
from raytt.examples._extras import fresh_linear
from raytt.task.task import Task

FASHION_FOLDER = Path("/usr/share/datasets/fashion-mnist")
IMAGE_SIZE = 32


@dataclass(frozen=True, kw_only=True)
class RecordTask:
    """A task of the record."""

    task: Task
    sgd_lr: float
    """Learning rate at which plain SGD with B = 32 trains briskly and stably; the grid is built around it."""
    adamw_lr: float
    """The same for AdamW."""
    max_steps: int
    """Steps after which a run at the scale above is given up; slower configurations get more (see `configurations`)."""
    val_accuracy: float | None = None
    """Validation accuracy that is a target too: most runs that train get there; None without accuracies."""
    eval_samples: int | None = None
    """Training samples on which the real training loss is evaluated; None: all."""
    adamw_seeds: int = 1
    """Seeds of every configuration of AdamW, at least: more where runs that differ in nothing else differ much."""


def _idx(name: str) -> NDArray[np.uint8]:
    """An IDX file (Fashion-MNIST's format): a magic number, the sizes, then bytes."""
    file = FASHION_FOLDER / name
    if not file.exists():
        raise InputError(f"{file} is missing.", "Install it with: apt-get install dataset-fashion-mnist.")
    raw = gzip.decompress(file.read_bytes())
    ndim = raw[3]
    shape = tuple(int.from_bytes(raw[4 + 4 * i : 8 + 4 * i], "big") for i in range(ndim))
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * ndim).reshape(shape)


def fashion_pixels(prefix: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Fashion-MNIST's images, (n, 28, 28), and labels; ``prefix``: ``train`` or ``t10k``."""
    return _idx(f"{prefix}-images-idx3-ubyte.gz"), _idx(f"{prefix}-labels-idx1-ubyte.gz")


def _fashion_images(prefix: str, classes: int, per_class: int) -> tuple[Tensor, Tensor]:
    """The first ``per_class`` images of each of the first classes, resized and normalised as ImageNet's."""
    pixels, labels = fashion_pixels(prefix)
    index = np.sort(np.concatenate([np.flatnonzero(labels == c)[:per_class] for c in range(classes)]))
    grey = torch.from_numpy(pixels[index].astype(np.float32) / 255.0)[:, None]
    large = nn.functional.interpolate(grey, size=IMAGE_SIZE, mode="bilinear", align_corners=False)
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    return (large - mean) / std, torch.from_numpy(labels[index].astype(np.int64))


def _efficientnet(classes: int) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        model = digits_example.build_model()
        model._fc = fresh_linear(1280, classes)
        return model

    return build


def fashion5() -> RecordTask:
    """EfficientNet-Lite0 on 5 classes × 150 Fashion-MNIST images: the size of the tasks in the NeurIPS 2020 paper."""
    return RecordTask(
        task=Task(
            mode="eval",
            name="fashion5",
            model=_efficientnet(5),
            forward=digits_example.forward,
            data=lambda: _fashion_images("train", 5, 150),
            validation=lambda: _fashion_images("t10k", 5, 40),
        ),
        sgd_lr=0.002,
        adamw_lr=2e-4,
        max_steps=500,
        val_accuracy=0.8,
        adamw_seeds=2,
    )


def fashion10() -> RecordTask:
    """EfficientNet-Lite0 on 10 classes × 500 Fashion-MNIST images; predicted from a subsample of at most 500."""
    return RecordTask(
        task=Task(
            mode="eval",
            name="fashion10",
            model=_efficientnet(10),
            forward=digits_example.forward,
            data=lambda: _fashion_images("train", 10, 500),
            validation=lambda: _fashion_images("t10k", 10, 30),
        ),
        sgd_lr=0.002,
        adamw_lr=2e-4,
        max_steps=800,
        val_accuracy=0.75,
        eval_samples=2000,
        adamw_seeds=2,
    )


def digits() -> RecordTask:
    """The embedded image example."""
    task = digits_example.task
    return RecordTask(task=task, sgd_lr=0.002, adamw_lr=2e-4, max_steps=600, val_accuracy=0.8, adamw_seeds=3)


def docstrings() -> RecordTask:
    """The embedded text example."""
    from raytt.examples import docstrings as example

    return RecordTask(task=example.task, sgd_lr=0.03, adamw_lr=1e-4, max_steps=300, val_accuracy=0.7)


def docstrings_head() -> RecordTask:
    """Docstrings with the head alone fine-tuned: a linear model."""
    return _docstrings_part("docstrings_head", ("head.*",), sgd_lr=3.0, adamw_lr=1e-2)


def docstrings_block() -> RecordTask:
    """Docstrings with the head and the last of six blocks fine-tuned."""
    return _docstrings_part("docstrings_block", ("head.*", "encoder.encoder.layer.5.*"), sgd_lr=0.1, adamw_lr=3e-4)


def _docstrings_part(name: str, trainable: tuple[str, ...], *, sgd_lr: float, adamw_lr: float) -> RecordTask:
    from raytt.examples import docstrings as example

    task = replace(example.task, name=name, trainable=trainable)
    return RecordTask(task=task, sgd_lr=sgd_lr, adamw_lr=adamw_lr, max_steps=300, val_accuracy=0.7)


def fortunes() -> RecordTask:
    """MiniLM, the upper third of it fine-tuned: which of eight categories a Debian fortune is from."""
    from .fortunes import TASK

    return RecordTask(task=TASK, sgd_lr=0.05, adamw_lr=2e-4, max_steps=300, val_accuracy=0.5)


class _Diabetes(nn.Module):
    """A multilayer perceptron with tanh units."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(10, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh())
        self.head = nn.Linear(64, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.body(x))
        return out


def _diabetes_data() -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_diabetes

    x, y = load_diabetes(return_X_y=True)
    inputs = torch.tensor(x / x.std(axis=0), dtype=torch.float32)
    targets = torch.tensor((y - y.mean()) / y.std(), dtype=torch.float32)[:, None]
    return inputs, targets


def _diabetes_part(part: str) -> Callable[[], tuple[Tensor, Tensor]]:
    """Disjoint parts of the 442 samples: 'pretrain' 150, 'train' 200, 'validation' 92."""
    bounds = {"pretrain": (0, 150), "train": (150, 350), "validation": (350, 442)}[part]

    def load() -> tuple[Tensor, Tensor]:
        inputs, targets = _diabetes_data()
        order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(0))[bounds[0] : bounds[1]]
        return inputs[order], targets[order]

    return load


def _diabetes_model() -> nn.Module:
    """Pre-trained on the part of the data kept for that, then given a fresh head, as in fine-tuning."""
    generator = torch.Generator().manual_seed(0)
    net = _Diabetes()
    with torch.no_grad():
        for p in net.parameters():
            fan = p.shape[1] if p.ndim == 2 else p.shape[0]
            p.copy_((torch.rand(p.shape, generator=generator) * 2 - 1) / fan**0.5)
    inputs, targets = _diabetes_part("pretrain")()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    for _ in range(300):
        optimizer.zero_grad()
        (net(inputs) - targets).square().mean().backward()
        optimizer.step()
    with torch.no_grad():
        net.head.weight.copy_((torch.rand(net.head.weight.shape, generator=generator) * 2 - 1) / 8)
        net.head.bias.zero_()
    return net


def diabetes() -> RecordTask:
    """Regression with squared loss: scikit-learn's diabetes data, a small pre-trained perceptron with a fresh head."""
    return RecordTask(
        task=Task(
            mode="eval",
            name="diabetes",
            model=_diabetes_model,
            data=_diabetes_part("train"),
            validation=_diabetes_part("validation"),
            loss="squared_error",
        ),
        sgd_lr=0.05,
        adamw_lr=3e-3,
        max_steps=2000,
    )


TASKS: dict[str, Callable[[], RecordTask]] = {
    "diabetes": diabetes,
    "digits": digits,
    "docstrings": docstrings,
    "docstrings_block": docstrings_block,
    "docstrings_head": docstrings_head,
    "fashion5": fashion5,
    "fashion10": fashion10,
    "fortunes": fortunes,
}


def load(name: str) -> RecordTask:
    """The task of that name."""
    if name not in TASKS:
        raise InputError(f"Unknown task {name!r}.", f"Use one of: {', '.join(TASKS)}.")
    return TASKS[name]()
