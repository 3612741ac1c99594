"""MiniLM fine-tuned to tell from a docstring what its function does, of which several things may be true at once.

The labels are what the function's source shows (`TRAITS`). Weights come with the ``examples`` extra, texts with every
Python: nothing is downloaded. Numbers differ a little between versions of Python.

    raytt rank raytt.examples.multilabel
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping

import torch
from ray import tune
from torch import Tensor, nn

from raytt.examples import _minilm
from raytt.examples._extras import fresh_linear
from raytt.examples._functions import Documented, chosen, functions
from raytt.task.target import Target
from raytt.task.task import Task

NUM_TRAIN, NUM_VALIDATION = 512, 128
"""Docstrings."""


def _has(*kinds: type[ast.AST]) -> Callable[[Documented], bool]:
    return lambda function: any(isinstance(node, kinds) for node in ast.walk(function.definition))


TRAITS: Mapping[str, Callable[[Documented], bool]] = {
    "is a method": lambda function: function.in_class,
    "is private": lambda function: function.definition.name.startswith("_"),
    "has parameters": lambda function: bool(function.parameters),
    "returns a value": lambda function: any(
        isinstance(node, ast.Return) and node.value is not None for node in ast.walk(function.definition)
    ),
    "raises": _has(ast.Raise),
    "loops": _has(ast.For, ast.AsyncFor, ast.While),
    "branches": _has(ast.If),
}
"""What a label says, and how the source shows it."""


class Classifier(_minilm.Headed):
    """A text encoder and a linear head on the mean of its token vectors."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits, (n, traits)."""
        vectors = self.vectors(input_ids, attention_mask)
        mask = attention_mask.unsqueeze(-1).to(vectors.dtype)
        logits: Tensor = self.head((vectors * mask).sum(dim=1) / mask.sum(dim=1))
        return logits


def build_model() -> nn.Module:
    """MiniLM with a fresh linear head, the same on every call."""
    return Classifier(_minilm.encoder(), fresh_linear(_minilm.WIDTH, len(TRAITS)))


def train_data() -> tuple[Mapping[str, Tensor], Tensor]:
    """Word pieces and masks of `NUM_TRAIN` docstrings, and 0 or 1 for each trait, (n, traits)."""
    return _tokenized(0, NUM_TRAIN)


def validation_data() -> tuple[Mapping[str, Tensor], Tensor]:
    """`NUM_VALIDATION` further docstrings."""
    return _tokenized(NUM_TRAIN, NUM_VALIDATION)


def _tokenized(start: int, count: int) -> tuple[Mapping[str, Tensor], Tensor]:
    found = chosen(functions(), start, count)
    labels = torch.tensor([[float(shows(one)) for shows in TRAITS.values()] for one in found])
    return _minilm.inputs(_minilm.pieces([one.text for one in found])), labels


task = Task(
    name="multilabel",
    model=build_model,
    data=train_data,
    validation=validation_data,
    loss=nn.BCEWithLogitsLoss(),
    trainable=_minilm.TRAINABLE,
)
target = Target(kind="loss_ratio", value=0.65)
search_space = {
    "optimizer": "adamw",
    "lr": tune.loguniform(2e-5, 1e-3),
    "batch_size": tune.choice([8, 16, 32]),
    "schedule": tune.choice(["constant", "cosine", "linear"]),
    "warmup_ratio": tune.choice([None, 0.1]),
    "max_epochs": 12,
}
