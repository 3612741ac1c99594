"""The loss of a ``Trainer`` without the rest of it, so that it can travel to workers."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
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

    The number of items by which sums over tokens are divided, Trainer's ``num_items_in_batch``, is counted in all
    minibatches of a step, so that with gradient accumulation its loss is the mean over all tokens of the step that
    count. Where neither the network nor ``compute_loss_func`` takes that number, the loss of a step is the mean of its
    minibatches' losses.

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
        if hasattr(shell, "_metrics"):
            # Trainers of trl note figures about every minibatch there; those of the original stay as they are.
            shell._metrics = {"train": defaultdict(list), "eval": defaultdict(list)}
        self._shell = shell

    def __call__(self, model: nn.Module, batch: Mapping[str, Any]) -> Tensor:
        """The loss of a minibatch, one number with its graph."""
        (loss,) = self.parts(model, [batch])
        return loss

    def parts(self, model: nn.Module, batches: Sequence[Mapping[str, Any]]) -> Iterator[Tensor]:
        """What Trainer differentiates for each of the minibatches of a step (`StepLoss`)."""
        shell, times = self._shell, len(batches)
        device = next(model.parameters()).device
        if "accelerator" not in vars(shell):
            shell.model = None
            shell.create_accelerator_and_postprocess()
        _place(shell, device)
        shell.current_gradient_accumulation_steps = times
        items = shell._get_num_items_in_batch(batches, device)
        divisor = 1 if _is_scaled(shell, items) else times
        for batch in batches:
            yield self._compute(model, dict(batch), items) / divisor

    def _compute(self, model: nn.Module, inputs: dict[str, Any], items: Any) -> Tensor:
        shell = self._shell
        shell.model = model
        try:
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
                f"loss_is_scaled_for_ga={getattr(self._shell, 'loss_is_scaled_for_ga', None)}",
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


def _is_scaled(shell: Any, items: Any) -> bool:
    """Whether Trainer takes the losses of a step's minibatches for parts of one already, and only adds them up."""
    told = getattr(shell, "loss_is_scaled_for_ga", None)
    if told is not None:
        return bool(told)
    return (shell.model_accepts_loss_kwargs and items is not None) or shell.compute_loss_func is not None


def _plain(value: Any) -> bool:
    """Whether its text says what it is, in every process."""
    return value is None or isinstance(value, bool | int | float | str)


def _place(shell: Any, device: torch.device) -> None:
    """Move networks that the loss reads beside the trained one to its device, such as the reference of preferences."""
    for part in vars(shell).values():
        if isinstance(part, nn.Module) and any(weight.device != device for weight in part.parameters()):
            part.to(device)
