"""A Hugging Face ``Trainer`` as a task and a candidate, and candidates as ``TrainingArguments``."""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from torch import nn, optim

from raytt.adapters.adapted import Adapted
from raytt.adapters.captured_model import CapturedModel
from raytt.adapters.items import Items
from raytt.adapters.torch_optimizer import ReadOptimizer, read_optimizer, task_settings
from raytt.adapters.transformers.arguments import training_arguments
from raytt.adapters.transformers.loss import TrainerLoss
from raytt.adapters.transformers.schedules import schedule_settings
from raytt.errors import InputError
from raytt.rates.randomness import seeded
from raytt.task.candidate import Candidate
from raytt.task.task import Task

_KNOWN_OPTIM = ("adamw_torch", "adamw_torch_fused", "sgd", "rmsprop")
"""Values of ``optim`` that are optimizers of torch."""
_AS_ADAMW = {
    "adamw_bnb_8bit": "keeps AdamW's moments in 8 bits",
    "paged_adamw_8bit": "keeps AdamW's moments in 8 bits",
    "paged_adamw_32bit": "moves AdamW's moments to main memory where it must",
    "paged_adamw": "moves AdamW's moments to main memory where it must",
    "adamw_torch_4bit": "keeps AdamW's moments in 4 bits",
    "adamw_torch_8bit": "keeps AdamW's moments in 8 bits",
    "adamw_8bit": "keeps AdamW's moments in 8 bits",
    "adamw_apex_fused": "is AdamW in other kernels",
    "adamw_torch_xla": "is AdamW in other kernels",
    "adamw_torch_npu_fused": "is AdamW in other kernels",
}
"""Values of ``optim`` that compute what AdamW does, up to rounding of its moments."""
_LIBRARIES = ("transformers", "trl")
"""Packages whose own overrides of Trainer's methods are known."""


@dataclass(frozen=True, kw_only=True)
class AdaptedTrainer(Adapted):
    """A ``Trainer``, as raytt ranks what it would do."""

    num_samples: int
    """N_full, training samples."""

    def arguments(self, candidate: Candidate) -> dict[str, Any]:
        """Keyword arguments of ``TrainingArguments`` with which this Trainer trains as a candidate says.

        They are those that tell candidates apart; ``dataclasses.replace(trainer.args, **found)`` keeps the others.

        Raises:
            InputError: If Trainer cannot be told so by arguments.
        """
        steps = candidate.budget(num_samples=self.num_samples, default_epochs=self.candidate.max_epochs or 1.0)
        return training_arguments(candidate, steps=steps)


def from_transformers(trainer: Any, *, name: str | None = None) -> AdaptedTrainer:
    """A task and a candidate from a Hugging Face ``Trainer``, or one of its subclasses such as trl's ``SFTTrainer``.

    Taken over: the network as it is now (with ``model_init``: as the Trainer builds it from its seed), the training and
    evaluation data with their collator, ``compute_loss`` of the Trainer's class with label smoothing or
    ``compute_loss_func``, the optimizer that ``create_optimizer`` makes, schedule, warm-up, batch size, gradient
    clipping, bf16, budget and seed. A loss that is a mean over tokens is the mean over all tokens of a step that count,
    those of all its accumulated minibatches, where Trainer takes it so (`TrainerLoss`).

    Args:
        trainer: Before or after training; it is not changed.
        name: Of the task; by default that of the model.

    Returns:
        Task, candidate, and the way from candidates to ``TrainingArguments``.

    Raises:
        InputError: If transformers is not installed, or the Trainer does what raytt does not know.
    """
    try:
        from transformers import Trainer
    except ImportError as error:
        raise InputError("from_transformers needs transformers.", "Run: pip install 'raytt[transformers]'") from error
    if not isinstance(trainer, Trainer):
        raise InputError(f"from_transformers got a {type(trainer).__name__}.", "Give a transformers.Trainer.")
    args = trainer.args
    _refuse(trainer, args)
    module = _module(trainer, args)
    read, notes = _optimizer(trainer, args, module)
    loader = trainer.get_train_dataloader()
    data = Items(loader.dataset, "training data set")
    batch_size = trainer._train_batch_size
    notes += _notes(trainer, args, len(data), batch_size)
    validation, more = _validation(trainer)
    task = Task(
        name=name or _name(module),
        model=CapturedModel(module, finish=_checkpointing(args)),
        data=data,
        validation=validation,
        batch_loss=TrainerLoss(trainer),
        collate=loader.collate_fn,
        mode="train",
        precision="bfloat16" if args.bf16 else "float16" if args.fp16 else "float32",
        **task_settings(read, module),
    )
    candidate = Candidate(
        **read.settings,
        batch_size=batch_size,
        accumulation_steps=args.gradient_accumulation_steps,
        max_grad_norm=args.max_grad_norm or None,
        **_schedule(args, lr=read.settings["lr"], num_samples=len(data), batch_size=batch_size),
        **_budget(args),
    )
    return AdaptedTrainer(task=task, candidate=candidate, seed=args.seed, notes=(*notes, *more), num_samples=len(data))


def _refuse(trainer: Any, args: Any) -> None:
    """Refuse what is neither taken over nor without effect."""
    problems: dict[str, tuple[bool, str]] = {
        "DeepSpeed": (bool(args.deepspeed or trainer.is_deepspeed_enabled), "Leave `deepspeed` out"),
        "FSDP": (bool(args.fsdp or trainer.is_fsdp_enabled), "Leave `fsdp` out"),
        "a launch on several processes": (args.world_size > 1, "Build the Trainer in one process"),
        "NEFTune": (trainer.neftune_noise_alpha is not None, "Leave `neftune_noise_alpha` out"),
        "a learning-rate scheduler of its own": (
            trainer.lr_scheduler is not None and not trainer._created_lr_scheduler,
            "Give `lr_scheduler_type` instead",
        ),
    }
    for what, (found, remedy) in problems.items():
        if found:
            raise InputError(f"The Trainer uses {what}, which raytt does not take over.", f"{remedy}.")
    for method in ("training_step", "_prepare_inputs", "create_scheduler", "_inner_training_loop"):
        # Trainers that generate their own inputs in each step do it in _prepare_inputs, those of trl, too.
        known = ("transformers",) if method == "_prepare_inputs" else _LIBRARIES
        if _home(trainer, method) not in known:
            raise InputError(
                f"{type(trainer).__name__} has a `{method}` of its own, which raytt does not take over.",
                "Override `compute_loss` or `create_optimizer` instead, or give a raytt.Task with a batch_loss.",
            )


def _home(trainer: Any, method: str) -> str:
    """The package whose code a method of the Trainer's class is."""
    return str(inspect.unwrap(getattr(type(trainer), method)).__module__).partition(".")[0]


def _module(trainer: Any, args: Any) -> nn.Module:
    """The network with which ``train()`` would begin."""
    if trainer.model_init is None:
        return trainer.model  # type: ignore[no-any-return]
    from transformers import set_seed

    # Puts the generators back that set_seed seeds.
    with seeded("model_init"):
        set_seed(args.seed)
        return trainer.call_model_init()  # type: ignore[no-any-return]


def _checkpointing(args: Any) -> list[Callable[[nn.Module], None]]:
    """What ``train()`` does to a network whose activations are to be computed again in the backward pass."""
    for kind in ("activation", "gradient"):
        if getattr(args, f"{kind}_checkpointing", False):
            settings = getattr(args, f"{kind}_checkpointing_kwargs", None)
            return [partial(_enable_checkpointing, kind=kind, settings=settings)]
    return []


def _enable_checkpointing(module: nn.Module, *, kind: str, settings: Mapping[str, Any] | None) -> None:
    enable = getattr(module, f"{kind}_checkpointing_enable", None)
    if enable is not None:
        enable(**{f"{kind}_checkpointing_kwargs": None if settings is None else dict(settings)})


def _optimizer(trainer: Any, args: Any, module: nn.Module) -> tuple[ReadOptimizer, list[str]]:
    """What ``create_optimizer`` makes, without leaving it in the Trainer."""
    if trainer.optimizer is not None and not trainer._created_lr_scheduler:
        return read_optimizer(_unwrapped(trainer.optimizer), module), []
    shell = copy.copy(trainer)
    shell.model, shell.optimizer, shell.args = module, None, copy.copy(args)
    kind, notes = str(getattr(args.optim, "value", args.optim)), []
    own = _home(trainer, "create_optimizer") not in _LIBRARIES
    if trainer.optimizer_cls_and_kwargs is None and not own:
        if kind in _AS_ADAMW:
            notes.append(f"optim={kind!r} {_AS_ADAMW[kind]}: taken for AdamW.")
            shell.args.optim = "adamw_torch"
        elif kind == "adafactor":
            raise InputError(
                "optim is 'adafactor': that of transformers, whose steps Trainer does not make in proportion to the "
                "weights, unlike those of torch.optim.Adafactor, which raytt knows.",
                "Give Trainer `optimizers=(torch.optim.Adafactor(…), None)`, with which its steps change, or use "
                "another optim.",
            )
        elif kind not in _KNOWN_OPTIM:
            raise InputError(
                f"optim is {kind!r}, which raytt does not have.",
                f"Use one of: {', '.join((*_KNOWN_OPTIM, *_AS_ADAMW))}.",
            )
    probed = not own and args.weight_decay == 0.0
    if probed:
        # So that parameters that Trainer never decays are told apart, for candidates with weight decay.
        shell.args.weight_decay = 1.0
    read = read_optimizer(_unwrapped(shell.create_optimizer()), module)
    return replace(read, settings={**read.settings, "weight_decay": 0.0}) if probed else read, notes


def _unwrapped(optimizer: Any) -> optim.Optimizer:
    """The optimizer of torch within that of accelerate."""
    inner = getattr(optimizer, "optimizer", optimizer)
    return inner if isinstance(inner, optim.Optimizer) else optimizer


def _validation(trainer: Any) -> tuple[Items | None, list[str]]:
    found = trainer.eval_dataset
    notes = []
    if isinstance(found, Mapping):
        first = next(iter(found), None)
        if len(found) > 1:
            notes.append(f"Of {len(found)} evaluation data sets the first, {first!r}, is the validation data.")
        found = None if first is None else found[first]
    if found is None:
        return None, notes
    loader = trainer.get_eval_dataloader(found)
    return Items(loader.dataset, "evaluation data set"), notes


def _schedule(args: Any, *, lr: float, num_samples: int, batch_size: int) -> dict[str, Any]:
    per_epoch = max(1, -(-num_samples // (batch_size * args.gradient_accumulation_steps)))
    steps = args.max_steps if args.max_steps > 0 else max(1, round(args.num_train_epochs * per_epoch))
    kind = str(getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type))
    return schedule_settings(
        kind, args.lr_scheduler_kwargs or {}, lr=lr, warmup_steps=int(args.get_warmup_steps(steps))
    )


def _budget(args: Any) -> dict[str, Any]:
    return {"max_steps": args.max_steps} if args.max_steps > 0 else {"max_epochs": float(args.num_train_epochs)}


def _notes(trainer: Any, args: Any, num_samples: int, batch_size: int) -> list[str]:
    notes = []
    order = str(getattr(args, "train_sampling_strategy", "random"))
    if order != "random":
        notes.append(f"Samples are drawn at random, not by train_sampling_strategy={order!r}.")
    if num_samples % batch_size and not args.dataloader_drop_last:
        notes.append("Trainer ends each epoch with a smaller minibatch; raytt's all have the same size.")
    own = trainer.model_accepts_loss_kwargs and _home(trainer, "compute_loss") not in _LIBRARIES
    own = (own or trainer.compute_loss_func is not None) and getattr(trainer, "loss_is_scaled_for_ga", None) is None
    if own and args.gradient_accumulation_steps > 1:
        notes.append(
            "Trainer adds up what the minibatches of a step give under gradient accumulation, and so does raytt: a "
            "loss of your own must divide by num_items_in_batch, or the Trainer say loss_is_scaled_for_ga = False."
        )
    if args.get_warmup_steps(1000):
        notes.append("In the warm-up of W steps Trainer takes t/W of the learning rate, raytt (t + 1)/(W + 1).")
    return notes


def _name(module: nn.Module) -> str:
    config = getattr(module, "config", None)
    given = str(getattr(config, "_name_or_path", "") or type(module).__name__).rstrip("/").rpartition("/")[2]
    return re.sub(r"[^A-Za-z0-9._-]", "-", given).lstrip("._-") or type(module).__name__
