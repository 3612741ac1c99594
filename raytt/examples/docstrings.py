"""MiniLM fine-tuned to tell from a docstring which package of Python's standard library it belongs to.

Weights come with the ``examples`` extra, texts with every Python: nothing is downloaded. The texts are those of the
Python that runs, so numbers differ a little between versions of Python.

    raytt rank raytt.examples.docstrings
"""

from __future__ import annotations

import ast
import functools
import re
import sysconfig
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from ray import tune
from torch import Tensor, nn

from raytt.errors import InputError
from raytt.examples import _minilm
from raytt.examples._extras import fresh_linear, nesterov_for_high_momentum
from raytt.task.minibatches import permutation
from raytt.task.target import Target
from raytt.task.task import Task

PACKAGES = ("asyncio", "email", "importlib", "logging", "unittest", "xml")
"""The classes: packages with enough docstrings in every Python from 3.11 on."""
NUM_TRAIN = 60
"""Training texts per package."""
NUM_VALIDATION = 20
"""Validation texts per package."""
NUM_TOKENS = 24
"""Tokens per text; longer ones are cut, shorter ones padded."""
MIN_WORDS = 6
"""Shortest docstring used, in words."""


class Classifier(nn.Module):
    """A text encoder and a linear head on the mean of its token vectors."""

    def __init__(self, encoder: nn.Module, head: nn.Linear) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head


def build_model() -> nn.Module:
    """MiniLM (all-MiniLM-L6-v2) with a fresh linear head, the same on every call."""
    return Classifier(_minilm.encoder(), fresh_linear(_minilm.WIDTH, len(PACKAGES)))


def forward(model: nn.Module, inputs: Mapping[str, Tensor]) -> Tensor:
    """Logits, (n, classes), from token ids and attention mask, each (n, tokens)."""
    assert isinstance(model, Classifier)
    vectors: Tensor = model.encoder(**inputs).last_hidden_state
    mask = inputs["attention_mask"].unsqueeze(-1).to(vectors.dtype)
    logits: Tensor = model.head((vectors * mask).sum(dim=1) / mask.sum(dim=1))
    return logits


def train_data() -> tuple[dict[str, Tensor], Tensor]:
    """Token ids and masks of `NUM_TRAIN` texts per package, and the numbers of their packages."""
    return _tokenized(0, NUM_TRAIN)


def validation_data() -> tuple[dict[str, Tensor], Tensor]:
    """`NUM_VALIDATION` further texts per package."""
    return _tokenized(NUM_TRAIN, NUM_VALIDATION)


@functools.cache
def docstrings(package: str) -> tuple[str, ...]:
    """All different docstrings of a package in the order of its source files, without the names of `PACKAGES`.

    Read from the source: nothing is imported.

    Raises:
        InputError: If this Python comes without its library's source or with too few docstrings.
    """
    root = Path(sysconfig.get_path("stdlib")) / package
    names = re.compile(rf"\b({'|'.join(PACKAGES)})\b", flags=re.IGNORECASE)
    cleaned = (" ".join(names.sub(" ", text).split()) for text in _docstrings_under(root))
    found = tuple(dict.fromkeys(text for text in cleaned if len(text.split()) >= MIN_WORDS))
    if len(found) < NUM_TRAIN + NUM_VALIDATION:
        raise InputError(
            f"{root} has {len(found)} docstrings of {MIN_WORDS} words, but this example needs "
            f"{NUM_TRAIN + NUM_VALIDATION}.",
            "Use a Python that has the source of its standard library.",
        )
    return found


def _docstrings_under(root: Path) -> Iterator[str]:
    for file in sorted(root.rglob("*.py")):
        if {"test", "tests"} & set(file.relative_to(root).parts):
            continue
        yield from docstrings_of(file)


def docstrings_of(file: Path) -> Iterator[str]:
    """All docstrings of a source file, which is not imported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        tree = ast.parse(file.read_bytes())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield text


def texts(start: int, count: int) -> list[str]:
    """Docstrings number ``start … start + count − 1`` of each package in a fixed random order, package by package."""
    chosen: list[str] = []
    for package in PACKAGES:
        found = docstrings(package)
        order = permutation(len(found), "raytt docstrings", package)
        chosen += [found[i] for i in order[start : start + count]]
    return chosen


def _tokenized(start: int, count: int) -> tuple[dict[str, Tensor], Tensor]:
    tokens = _minilm.tokenizer()(
        texts(start, count), padding="max_length", truncation=True, max_length=NUM_TOKENS, return_tensors="pt"
    )
    labels = torch.arange(len(PACKAGES)).repeat_interleave(count)
    return {name: tokens[name] for name in ("input_ids", "attention_mask")}, labels


task = Task(
    name="docstrings",
    model=build_model,
    data=train_data,
    validation=validation_data,
    # Most texts use few of the 30,000 token vectors: they stay as they are.
    trainable=("*", "!encoder.embeddings.*"),
    forward=forward,
)
target = Target(kind="loss_ratio", value=0.1)
search_space = {
    # From far too low to reach the target in time to far above the stability limit.
    "lr": tune.loguniform(1e-3, 0.5),
    "momentum": tune.choice([0.0, 0.9, 0.95]),
    "nesterov": tune.sample_from(nesterov_for_high_momentum),
    "weight_decay": tune.choice([0.0, 1e-4, 1e-2]),
    "batch_size": tune.choice([8, 16, 32, 64]),
    "schedule": tune.choice(["constant", "cosine", "linear"]),
    "warmup_steps": tune.choice([0, 10]),
    "max_epochs": 50,
}
