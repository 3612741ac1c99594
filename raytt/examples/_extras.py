"""What the examples share: optional packages, a fresh head, a dependent hyperparameter."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import nn

from raytt.errors import InputError

INSTALL = "pip install 'raytt[examples]'"


def require(module: str) -> Any:
    """The module of that name.

    Raises:
        InputError: If it, or something it needs, is not installed; names the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"This example needs the package {error.name or module}, which is not installed.", f"Run: {INSTALL}"
        ) from error


def fresh_linear(in_features: int, out_features: int) -> nn.Linear:
    """A linear layer with weights uniform in ±in_features^(−½) and zero bias, the same on every call."""
    with torch.random.fork_rng(devices=[]):
        layer = nn.Linear(in_features, out_features)
    bound = in_features**-0.5
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=torch.Generator().manual_seed(0))
        layer.bias.zero_()
    return layer


def nesterov_for_high_momentum(spec: Any) -> bool:
    """Whether a configuration drawn by Ray Tune uses Nesterov's form: where its momentum is above 0.9."""
    return bool(spec.config.momentum > 0.9)
