"""Hyperparameters of a candidate as axolotl's YAML names them."""

from __future__ import annotations

from typing import Any

from raytt.adapters.transformers.arguments import training_arguments
from raytt.task.candidate import Candidate

_NAMES = {
    "per_device_train_batch_size": "micro_batch_size",
    "optim": "optimizer",
    "lr_scheduler_type": "lr_scheduler",
    "num_train_epochs": "num_epochs",
}
"""axolotl's names where they are not those of ``TrainingArguments``."""


def axolotl_config(candidate: Candidate, *, steps: int) -> dict[str, Any]:
    """The part of an axolotl configuration that is a candidate's: add it to that of model, data and adapter.

    Args:
        candidate: How to train.
        steps: Its whole budget T.

    Raises:
        InputError: If axolotl, which trains with transformers' Trainer, cannot be told so.
    """
    found = training_arguments(candidate, steps=steps)
    if found["max_steps"] < 0:
        del found["max_steps"]
    if not found["lr_scheduler_kwargs"]:
        del found["lr_scheduler_kwargs"]
    return {_NAMES.get(name, name): value for name, value in found.items()}
