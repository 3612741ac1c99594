"""MiniLM fine-tuned to mark the words of a docstring that are code: token classification.

Each word of a function's docstring is the name of one of its parameters, another name that its module defines, or
neither, as the source says: "return" is a parameter of few functions, and "name" of many. Only the first piece of a
word has a label, as is usual; other pieces and padding are ignored. Weights come with the ``examples`` extra, texts
with every Python: nothing is downloaded. Numbers differ a little between versions of Python.

    raytt rank raytt.examples.tokens
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from ray import tune
from torch import Tensor, nn

from raytt.examples import _minilm
from raytt.examples._extras import fresh_linear
from raytt.examples._functions import Documented, chosen, functions
from raytt.task.target import Target
from raytt.task.task import Task

CLASSES = ("neither", "parameter", "name")
NUM_TRAIN, NUM_VALIDATION = 384, 128
"""Docstrings."""
IGNORED = -100
"""The label of what does not count, torch's default."""
WORD = re.compile(r"\w+|[^\w\s]")


class Tagger(_minilm.Headed):
    """A text encoder and a linear head on each token vector."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits, (n, tokens, classes)."""
        logits: Tensor = self.head(self.vectors(input_ids, attention_mask))
        return logits


def build_model() -> nn.Module:
    """MiniLM with a fresh linear head, the same on every call."""
    return Tagger(_minilm.encoder(), fresh_linear(_minilm.WIDTH, len(CLASSES)))


def train_data() -> tuple[Mapping[str, Tensor], Tensor]:
    """Word pieces and masks of `NUM_TRAIN` docstrings, and the labels of their words, (n, tokens)."""
    return _tokenized(0, NUM_TRAIN)


def validation_data() -> tuple[Mapping[str, Tensor], Tensor]:
    """`NUM_VALIDATION` further docstrings."""
    return _tokenized(NUM_TRAIN, NUM_VALIDATION)


def label(word: str, function: Documented) -> int:
    """What a word of a docstring is, a number of `CLASSES`."""
    if word in function.parameters:
        return CLASSES.index("parameter")
    return CLASSES.index("name" if word in function.names else "neither")


def _tokenized(start: int, count: int) -> tuple[Mapping[str, Tensor], Tensor]:
    marked = tuple(one for one in functions() if any(label(word, one) for word in WORD.findall(one.text)))
    found = chosen(marked, start, count)
    words = [WORD.findall(one.text) for one in found]
    pieces = _minilm.pieces(words, is_split_into_words=True)
    labels = torch.full((count, _minilm.NUM_TOKENS), IGNORED)
    for row, function in enumerate(found):
        before = None
        for place, number in enumerate(pieces.word_ids(row)):
            if number is not None and number != before:
                labels[row, place] = label(words[row][number], function)
            before = number
    return _minilm.inputs(pieces), labels


task = Task(
    name="tokens",
    model=build_model,
    data=train_data,
    validation=validation_data,
    loss=nn.CrossEntropyLoss(ignore_index=IGNORED),
    trainable=_minilm.TRAINABLE,
)
target = Target(kind="loss_ratio", value=0.2)
search_space = {
    "optimizer": "adamw",
    "lr": tune.loguniform(2e-5, 1e-3),
    "batch_size": tune.choice([8, 16, 32]),
    "schedule": tune.choice(["constant", "cosine", "linear"]),
    "warmup_ratio": tune.choice([None, 0.1]),
    "max_epochs": 10,
}
