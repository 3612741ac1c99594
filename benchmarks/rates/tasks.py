"""The tasks of the record in training mode, and the configurations that are really trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from benchmarks.rates.example_tasks import CONFIGURATIONS, EXAMPLES, drawn, reference
from benchmarks.rates.fashion import fashion_task
from benchmarks.rates.pictures import task as pictures_task
from raytt.examples import digits as digits_example
from raytt.examples import docstrings as docstrings_example
from raytt.task.candidate import Candidate
from raytt.task.task import Task


@dataclass(frozen=True, kw_only=True)
class ModeTask:
    """A task trained in ``module.train()``."""

    task: Task
    """What is trained."""
    references: dict[str, Candidate]
    """The reference run's configuration by optimizer."""
    candidates: dict[str, tuple[Candidate, ...]]
    """What is really trained, by optimizer; ``max_steps`` is the length of the schedule and of the run."""
    ratios: dict[str, tuple[float, ...]]
    """Targets by optimizer, as shares of the initial loss."""


def adamw(lr: float, batch_size: int, max_steps: int, schedule: str = "constant", warmup: int = 0) -> Candidate:
    """A configuration of AdamW."""
    return Candidate(
        optimizer="adamw",
        lr=lr,
        batch_size=batch_size,
        max_steps=max_steps,
        schedule=schedule,
        warmup_steps=warmup,
    )


def sgd(
    lr: float, batch_size: int, max_steps: int, momentum: float = 0.0, schedule: str = "constant", warmup: int = 0
) -> Candidate:
    """A configuration of SGD."""
    return Candidate(
        lr=lr,
        batch_size=batch_size,
        max_steps=max_steps,
        momentum=momentum,
        schedule=schedule,
        warmup_steps=warmup,
    )


DIGITS_SIZE = 48


def _at_size(make: Callable[[], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    before = digits_example.IMAGE_SIZE
    digits_example.IMAGE_SIZE = DIGITS_SIZE
    try:
        return make()
    finally:
        digits_example.IMAGE_SIZE = before


def _digits_data() -> tuple[Tensor, Tensor]:
    return _at_size(digits_example.train_data)


def _digits_validation() -> tuple[Tensor, Tensor]:
    return _at_size(digits_example.validation_data)


def digits() -> ModeTask:
    """EfficientNet-Lite0 on 400 handwritten digits of 48 pixels: batch norm, dropout 0.2 and drop connect 0.2."""
    return ModeTask(
        task=replace(digits_example.task, data=_digits_data, validation=_digits_validation, mode="train"),
        references={"adamw": adamw(3e-4, 32, 150), "sgd": sgd(0.02, 32, 150)},
        candidates={
            "adamw": (
                adamw(1e-3, 64, 100, warmup=5),
                adamw(3e-4, 64, 100, "cosine"),
                adamw(6e-4, 32, 100, "cosine"),
                adamw(1.5e-4, 32, 200),
                adamw(3e-4, 16, 200, "cosine", 10),
                adamw(1e-3, 16, 150),
                adamw(3e-4, 8, 300),
                adamw(8e-4, 8, 250, "cosine", 10),
            ),
            "sgd": (
                sgd(0.05, 64, 100, warmup=5),
                sgd(3e-3, 64, 100, 0.9),
                sgd(0.04, 32, 100, schedule="cosine"),
                sgd(1e-3, 32, 200, 0.9),
                sgd(0.02, 16, 200, schedule="cosine"),
                sgd(3e-3, 16, 200, 0.9, warmup=10),
                sgd(0.01, 8, 300),
                sgd(0.03, 8, 250, schedule="cosine"),
            ),
        },
        ratios={"adamw": (0.65, 0.5, 0.35, 0.25), "sgd": (0.65, 0.5, 0.35, 0.25)},
    )


def docstrings() -> ModeTask:
    """MiniLM with its dropout of 0.1 on 360 docstrings of six packages."""
    return ModeTask(
        task=replace(docstrings_example.task, mode="train"),
        references={"adamw": adamw(6e-5, 32, 120)},
        candidates={
            "adamw": (
                adamw(1e-4, 64, 60, warmup=5),
                adamw(6e-5, 64, 60, "cosine"),
                adamw(1e-4, 32, 80, "cosine"),
                adamw(3e-5, 32, 120),
                adamw(6e-5, 16, 120, "cosine", 10),
                adamw(2e-4, 16, 100),
                adamw(4e-5, 8, 240),
                adamw(1e-4, 8, 200, "cosine", 10),
            )
        },
        ratios={"adamw": (0.8, 0.65, 0.5, 0.35, 0.25)},
    )


def _small_network() -> nn.Module:
    """A small convolutional network with batch norm and dropout from a fixed random start."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(128, 10),
        )


def _small_data() -> tuple[Tensor, Tensor]:
    images, labels = digits_example.train_data()
    # One of three equal channels (but for their normalisation), at the pixels' own resolution.
    return nn.functional.interpolate(images[:, :1], size=(8, 8), mode="area"), labels


def _small_validation() -> tuple[Tensor, Tensor]:
    images, labels = digits_example.validation_data()
    return nn.functional.interpolate(images[:, :1], size=(8, 8), mode="area"), labels


def small() -> ModeTask:
    """A small batch-norm network with dropout, not pre-trained, on 400 digits of 8 pixels: seconds instead of hours."""
    return ModeTask(
        task=Task(name="small", model=_small_network, data=_small_data, validation=_small_validation, mode="train"),
        references={"adamw": adamw(1e-3, 32, 400), "sgd": sgd(0.05, 32, 400)},
        candidates={
            "adamw": (
                adamw(3e-3, 64, 200, warmup=5),
                adamw(1e-3, 64, 300, "cosine"),
                adamw(2e-3, 32, 300, "cosine"),
                adamw(5e-4, 32, 500),
                adamw(1e-3, 16, 500, "cosine", 10),
                adamw(3e-3, 16, 400),
                adamw(1e-3, 8, 800),
                adamw(3e-3, 8, 800, "cosine", 10),
            ),
            "sgd": (
                sgd(0.15, 64, 300, warmup=5),
                sgd(0.01, 64, 300, 0.9),
                sgd(0.1, 32, 300, schedule="cosine"),
                sgd(2e-3, 32, 800, 0.9),
                sgd(0.05, 16, 500, schedule="cosine"),
                sgd(0.01, 16, 400, 0.9, warmup=10),
                sgd(0.02, 8, 1500),
                sgd(0.1, 8, 800, schedule="cosine"),
            ),
        },
        ratios={"adamw": (0.65, 0.5, 0.35, 0.25), "sgd": (0.65, 0.5, 0.35, 0.25)},
    )


def _slow_norms_network() -> nn.Module:
    network = _small_network()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.01
    return network


def slow_norms() -> ModeTask:
    """The small batch-norm network with a momentum of 0.01, as EfficientNets have it: running statistics lag far."""
    return replace(small(), task=replace(small().task, name="slow_norms", model=_slow_norms_network))


def _layer_norm_network() -> nn.Module:
    """Fully connected, with layer norm and much dropout: no dependence between samples."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return nn.Sequential(
            nn.Flatten(),
            nn.Linear(64, 96),
            nn.LayerNorm(96),
            nn.GELU(),
            nn.Dropout(0.3),
            nn.Linear(96, 96),
            nn.LayerNorm(96),
            nn.GELU(),
            nn.Dropout(0.3),
            nn.Linear(96, 10),
        )


def layer_norm() -> ModeTask:
    """A small network with layer norm and dropout on the same digits."""
    return ModeTask(
        task=Task(
            name="layer_norm",
            model=_layer_norm_network,
            data=_small_data,
            validation=_small_validation,
            mode="train",
        ),
        references={"adamw": adamw(1e-3, 32, 400), "sgd": sgd(0.05, 32, 400)},
        candidates=small().candidates,
        ratios=small().ratios,
    )


def pictures() -> ModeTask:
    """EfficientNet-Lite0 on crops of ten photographs, flipped, shifted and brightened: left aside for the last test."""
    return ModeTask(
        task=pictures_task,
        references={"adamw": adamw(1e-4, 32, 150), "sgd": sgd(0.02, 32, 150)},
        candidates={
            "adamw": (
                adamw(2e-4, 64, 80, warmup=5),
                adamw(1e-4, 64, 100, "cosine"),
                adamw(2e-4, 32, 120, "cosine"),
                adamw(6e-5, 32, 200),
                adamw(1e-4, 16, 200, "cosine", 10),
                adamw(3e-4, 16, 150),
                adamw(1e-4, 8, 400),
                adamw(2e-4, 8, 300, "cosine", 10),
            ),
            "sgd": (
                sgd(0.05, 64, 100, warmup=5),
                sgd(3e-3, 64, 100, 0.9),
                sgd(0.04, 32, 100, schedule="cosine"),
                sgd(1.5e-3, 32, 150, 0.9),
                sgd(0.02, 16, 200, schedule="cosine"),
                sgd(3e-3, 16, 200, 0.9, warmup=10),
                sgd(0.01, 8, 400),
                sgd(0.02, 8, 300, schedule="cosine"),
            ),
        },
        ratios={"adamw": (0.65, 0.5, 0.35, 0.25), "sgd": (0.65, 0.5, 0.35, 0.25)},
    )


def _fashion(name: str) -> ModeTask:
    """One of three pre-trained families on the other five classes of Fashion-MNIST, flipped and shifted."""
    return ModeTask(
        task=fashion_task(name),
        references={"adamw": adamw(1e-3, 32, 300), "sgd": sgd(0.05, 32, 300)},
        candidates={
            "adamw": (
                adamw(2e-3, 64, 200, warmup=5),
                adamw(1e-3, 64, 200, "cosine"),
                adamw(2e-3, 32, 250, "cosine"),
                adamw(5e-4, 32, 400),
                adamw(1e-3, 16, 400, "cosine", 10),
                adamw(2e-3, 16, 300),
                adamw(1e-3, 8, 600),
                adamw(2e-3, 8, 500, "cosine", 10),
            ),
            "sgd": (
                sgd(0.1, 64, 200, warmup=5),
                sgd(0.01, 64, 200, 0.9),
                sgd(0.1, 32, 250, schedule="cosine"),
                sgd(3e-3, 32, 400, 0.9),
                sgd(0.05, 16, 400, schedule="cosine"),
                sgd(0.01, 16, 300, 0.9, warmup=10),
                sgd(0.02, 8, 600),
                sgd(0.05, 8, 500, schedule="cosine"),
            ),
        },
        ratios={"adamw": (0.65, 0.5, 0.35, 0.25), "sgd": (0.65, 0.5, 0.35, 0.25)},
    )


def _example(name: str) -> ModeTask:
    """An example of the package in training mode, with configurations of its own search space."""
    example = EXAMPLES[name]
    return ModeTask(
        task=replace(example.task, mode="train"),
        references={"adamw": reference(name)},
        candidates={"adamw": drawn(name, CONFIGURATIONS[name])},
        ratios={"adamw": (0.8, 0.65, 0.5, 0.35)},
    )


TASKS: dict[str, Callable[[], ModeTask]] = {
    "small": small,
    "slow_norms": slow_norms,
    "layer_norm": layer_norm,
    "digits": digits,
    "docstrings": docstrings,
    "pictures": pictures,
    "resnet": lambda: _fashion("resnet"),
    "mobilenet": lambda: _fashion("mobilenet"),
    "vit": lambda: _fashion("vit"),
    "lora": lambda: _example("lora"),
    "tokens": lambda: _example("tokens"),
    "multilabel": lambda: _example("multilabel"),
    "segmentation": lambda: _example("segmentation"),
}
