"""Optimizers with settings that differ from every default, for the contract tests; each one registered is here."""

from __future__ import annotations

import torch

from raytt.task.optimizers import Adafactor, Adam, AdamW, Lion, Optimizer, RMSprop, Sgd
from raytt.task.optimizers._torch_lion import TorchLion

EXAMPLES: tuple[Optimizer, ...] = (
    Sgd(),
    Sgd(momentum=0.9),
    Sgd(momentum=0.8, nesterov=True, weight_decay=0.05),
    AdamW(),
    AdamW(weight_decay=0.05, betas=(0.8, 0.99), eps=1e-6),
    Adam(),
    Adam(weight_decay=0.05, betas=(0.7, 0.95), eps=1e-5),
    RMSprop(),
    RMSprop(momentum=0.9, weight_decay=0.05, alpha=0.9, eps=1e-4),
    Lion(),
    Lion(weight_decay=0.05, betas=(0.8, 0.95)),
    Adafactor(),
    Adafactor(weight_decay=0.05, beta2_decay=-0.5, eps=(1e-6, 1e-2), d=2.0),
)
TORCH: dict[str, type[torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adamw": torch.optim.AdamW,
    "adam": torch.optim.Adam,
    "rmsprop": torch.optim.RMSprop,
    "lion": TorchLion,
    "adafactor": torch.optim.Adafactor,
}
UNSIMULATED = {"lion", "adafactor"}
"""Those for training mode alone."""
ONE_BY_ONE = {"lion", "adafactor"}
"""Those whose updates torch makes one parameter after the other unless told otherwise, on GPUs, too."""


def label(optimizer: Optimizer) -> str:
    """For the names of tests."""
    return " ".join((optimizer.name, *optimizer.describe().values()))
