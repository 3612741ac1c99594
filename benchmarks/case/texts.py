"""MiniLM on 10,400 docstrings of eight packages: which package is it from? A realistic case, end to end.

Once, two minutes: reads the sources of the packages, which raytt's own extras install, and keeps the tokens.

    python -m benchmarks.case.texts
    PYTHONPATH=$PWD raytt rank benchmarks/case/texts.py --candidates 64 --storage-path runs/case --name texts
    PYTHONPATH=$PWD raytt validate benchmarks/case/texts.py runs/case/texts --top 6 --random 6
"""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import optuna
import torch
from torch import Tensor, nn

import raytt
from raytt.examples import _minilm
from raytt.examples._extras import fresh_linear
from raytt.examples.docstrings import Classifier, docstrings_of, forward
from raytt.task.minibatches import permutation

PACKAGES = ("ray", "torch", "transformers", "sympy", "scipy", "sklearn", "numpy", "networkx")
"""The classes."""
TRAIN, VALIDATION = 1300, 200
"""Texts per class."""
TOKENS, FEWEST_WORDS = 32, 6
KEPT = Path(__file__).parents[2] / "runs/case/texts.pt"
EPOCHS = 3


def texts(package: str) -> list[str]:
    """Different docstrings of a package in a fixed random order, without the packages' names."""
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    names = re.compile("|".join(PACKAGES), flags=re.IGNORECASE)
    found: dict[str, None] = {}
    for file in sorted(Path(spec.origin).parent.rglob("*.py")):
        if {"test", "tests"} & set(file.parts):
            continue
        # Some sources are written for later Pythons.
        with suppress(SyntaxError):
            for text in docstrings_of(file):
                cleaned = " ".join(names.sub(" ", text).split())
                if len(cleaned.split()) >= FEWEST_WORDS:
                    found[cleaned] = None
    order, known = permutation(len(found), "raytt case", package), list(found)
    return [known[i] for i in order[: TRAIN + VALIDATION]]


def prepare() -> None:
    """Tokenize all texts and keep the tokens."""
    tokenizer = _minilm.tokenizer()
    parts = []
    for package in PACKAGES:
        chosen = texts(package)
        assert len(chosen) == TRAIN + VALIDATION, package
        tokens = tokenizer(chosen, padding="max_length", truncation=True, max_length=TOKENS, return_tensors="pt")
        parts.append({name: tokens[name] for name in ("input_ids", "attention_mask")})
        sys.stdout.write(f"{package}: {len(chosen)}\n")
    KEPT.parent.mkdir(parents=True, exist_ok=True)
    torch.save({name: torch.stack([part[name] for part in parts]) for name in parts[0]}, KEPT)


def _part(start: int, count: int) -> tuple[dict[str, Tensor], Tensor]:
    kept: dict[str, Tensor] = torch.load(KEPT)
    inputs = {name: tokens[:, start : start + count].flatten(0, 1) for name, tokens in kept.items()}
    return inputs, torch.arange(len(PACKAGES)).repeat_interleave(count)


def train_data() -> tuple[dict[str, Tensor], Tensor]:
    """`TRAIN` texts per package, and the numbers of their packages."""
    return _part(0, TRAIN)


def validation_data() -> tuple[dict[str, Tensor], Tensor]:
    """`VALIDATION` further texts per package."""
    return _part(TRAIN, VALIDATION)


def build_model() -> nn.Module:
    """MiniLM with a fresh head, the same on every call."""
    return Classifier(_minilm.encoder(), fresh_linear(_minilm.WIDTH, len(PACKAGES)))


task = raytt.Task(
    name="texts",
    model=build_model,
    data=train_data,
    validation=validation_data,
    trainable=("*", "!encoder.embeddings.*"),
    forward=forward,
)
target = raytt.Target(kind="val_loss", value=0.8)


def search_space(trial: optuna.Trial) -> dict[str, Any]:
    """AdamW as texts are fine-tuned, in Optuna's form."""
    return {
        "optimizer": "adamw",
        "lr": trial.suggest_float("lr", 1e-5, 1e-3, log=True),
        "batch_size": trial.suggest_categorical("batch_size", [16, 32, 64]),
        "schedule": trial.suggest_categorical("schedule", ["constant", "cosine", "linear"]),
        "warmup_ratio": trial.suggest_categorical("warmup_ratio", [None, 0.06]),
        "weight_decay": trial.suggest_categorical("weight_decay", [0.0, 0.01, 0.1]),
        "max_epochs": EPOCHS,
    }


if __name__ == "__main__":
    prepare()
