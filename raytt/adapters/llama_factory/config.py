"""Hyperparameters of a candidate as LLaMA-Factory's YAML names them."""

from __future__ import annotations

from typing import Any

from raytt.adapters.transformers.arguments import training_arguments
from raytt.task.candidate import Candidate


def llama_factory_config(candidate: Candidate, *, steps: int) -> dict[str, Any]:
    """The part of a LLaMA-Factory configuration that is a candidate's: add it to that of model, data and method.

    Its training arguments are those of transformers under their own names.

    Args:
        candidate: How to train.
        steps: Its whole budget T.

    Raises:
        InputError: If LLaMA-Factory, which trains with transformers' Trainer, cannot be told so.
    """
    found = training_arguments(candidate, steps=steps)
    if not found["lr_scheduler_kwargs"]:
        del found["lr_scheduler_kwargs"]
    return found
