"""The loss of a ``Trainer`` without the rest of it, so that it can travel to workers."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn

from raytt.store.fingerprint import describe

_LEFT_BEHIND = (
    "model",
    "model_wrapped",
    "train_dataset",
    "eval_dataset",
    "optimizer",
    "lr_scheduler",
    "callback_handler",
    "accelerator",
    "gather_function",
    "data_collator",
    "_memory_tracker",
    "model_init",
    "deepspeed",
    "_eval_dataloaders",
    "compute_metrics",
    "preprocess_logits_for_metrics",
    "maybe_activation_offload_context",
)
"""Attributes of a Trainer that its ``compute_loss`` does not read, or that are made anew where it runs."""


class TrainerLoss:
    """``Trainer.compute_loss`` as the loss of a task, with what its class, label smoother and loss function make of it.

    The number of items by which sums over tokens are divided is counted in the minibatch, as Trainer does without
    accumulation.

    Args:
        trainer: Whose loss; it is not changed.
    """

    def __init__(self, trainer: Any) -> None:
        shell = copy.copy(trainer)
        for name in _LEFT_BEHIND:
            vars(shell).pop(name, None)
        shell.args = copy.copy(trainer.args)
        # One device at a time computes a minibatch.
        shell.args._n_gpu = 1
        shell.current_gradient_accumulation_steps = 1
        if hasattr(shell, "_metrics"):
            # Trainers of trl note figures about every minibatch there; those of the original stay as they are.
            shell._metrics = {"train": defaultdict(list), "eval": defaultdict(list)}
        self._shell = shell

    def __call__(self, model: nn.Module, batch: Mapping[str, Any]) -> Tensor:
        """The loss of a minibatch, one number with its graph."""
        shell = self._shell
        device = next(model.parameters()).device
        if "accelerator" not in vars(shell):
            shell.model = None
            shell.create_accelerator_and_postprocess()
        _place(shell, device)
        shell.model = model
        try:
            inputs = dict(batch)
            items = shell._get_num_items_in_batch([inputs], device)
            loss: Tensor = shell.compute_loss(model, inputs, num_items_in_batch=items)
        finally:
            shell.model = None
            for noted in getattr(shell, "_metrics", {}).values():
                noted.clear()
        return loss

    @property
    def travels_with(self) -> tuple[Any, ...]:
        """The class of the trainer and its loss function, whose code workers need."""
        return tuple(part for part in (type(self._shell), self._shell.compute_loss_func) if part is not None)

    def identity(self) -> str:
        """What the loss depends on beside the network: its code, and the arguments that Trainer or a subclass reads."""
        from transformers import TrainingArguments

        args = self._shell.args
        # Of Trainer's own arguments one; those that a subclass adds, as trl's do, are mostly about the loss.
        own = set(vars(args)) - {field.name for field in fields(TrainingArguments)}
        settings = {name: value for name, value in vars(args).items() if name in own and not name.startswith("_")}
        return " ".join(
            (
                str(describe(type(self._shell).compute_loss)),
                str(describe(self._shell.compute_loss_func)),
                f"label_smoothing_factor={args.label_smoothing_factor}",
                *(f"{name}={value!r}" for name, value in sorted(settings.items()) if _plain(value)),
            )
        )

    def __getstate__(self) -> dict[str, Any]:
        shell = copy.copy(self._shell)
        for name in _LEFT_BEHIND:
            vars(shell).pop(name, None)
        return {"shell": shell}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._shell = state["shell"]


def _plain(value: Any) -> bool:
    """Whether its text says what it is, in every process."""
    return value is None or isinstance(value, bool | int | float | str)


def _place(shell: Any, device: torch.device) -> None:
    """Move networks that the loss reads beside the trained one to its device, such as the reference of preferences."""
    for part in vars(shell).values():
        if isinstance(part, nn.Module) and any(weight.device != device for weight in part.parameters()):
            part.to(device)
