"""The examples beyond one class per sample, in the record: adapters, tokens, labels, pixels.

Configurations are drawn once from the search space that each example itself suggests, evenly over the logarithm of the
learning rate; none is chosen by what came of it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from raytt.examples import lora, multilabel, segmentation, tokens
from raytt.task.candidate import Candidate


def drawn(name: str, number: int) -> tuple[Candidate, ...]:
    """Configurations of an example's search space.

    Args:
        name: Of the example.
        number: How many: the n-th part of the range of ln lr holds one each.
    """
    space, draws = EXAMPLES[name].search_space, np.random.default_rng(0)
    low, high = math.log(space["lr"].lower), math.log(space["lr"].upper)
    found = []
    for place in draws.permutation(number):
        lr = math.exp(low + (high - low) * (place + draws.uniform()) / number)
        # What the reference's rates are measured at holds these sizes.
        batch_size = int(draws.choice(space["batch_size"].categories))
        steps = _steps(name, batch_size)
        warm = draws.choice([0.0, 0.1])
        found.append(
            Candidate(
                optimizer="adamw",
                lr=float(f"{lr:.2g}"),
                batch_size=batch_size,
                max_steps=steps,
                schedule=str(draws.choice(space["schedule"].categories)),
                warmup_steps=math.ceil(warm * steps),
            )
        )
    return tuple(found)


def reference(name: str) -> Candidate:
    """AdamW at the middle of the range of learning rates, as a ranking chooses it, with all steps of 32 samples."""
    lr = EXAMPLES[name].search_space["lr"]
    middle = math.sqrt(lr.lower * lr.upper)
    return Candidate(optimizer="adamw", lr=float(f"{middle:.2g}"), batch_size=32, max_steps=_steps(name, 32))


def _steps(name: str, batch_size: int) -> int:
    example = EXAMPLES[name]
    epochs: int = EPOCHS.get(name, example.search_space["max_epochs"])
    return math.ceil(SAMPLES[name] / batch_size) * epochs


EXAMPLES: dict[str, Any] = {"lora": lora, "tokens": tokens, "multilabel": multilabel, "segmentation": segmentation}
SAMPLES = {"lora": 512, "tokens": 384, "multilabel": 512, "segmentation": 240}
"""Of each example's training data, which take long to open."""
CONFIGURATIONS = {"lora": 32, "tokens": 16, "multilabel": 16, "segmentation": 16}
EPOCHS = {"multilabel": 5}
"""Where fewer than the example's own: its loss falls in the first ones, and 16 runs of 12 take an hour."""
