"""A ``LightningModule`` with its data as a task and a candidate."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from raytt.adapters.adapted import Adapted
from raytt.adapters.captured_model import CapturedModel
from raytt.adapters.items import Items
from raytt.adapters.lightning.stand_in import Attach, StandIn, is_lightning
from raytt.adapters.torch_optimizer import read_optimizer, task_settings
from raytt.adapters.torch_schedule import EXACT, nearest_schedule, run_scheduler
from raytt.errors import InputError
from raytt.store.fingerprint import describe
from raytt.task.candidate import Candidate
from raytt.task.task import Task


class TrainingStepLoss:
    """``training_step`` as the loss of a task.

    Args:
        module: Whose.
    """

    def __init__(self, module: Any) -> None:
        # The number of the minibatch, which is always 0 here, may be left out.
        self._batch_argument = len(inspect.signature(module.training_step).parameters) > 1
        self._identity = f"{describe(type(module).training_step)} {dict(module.hparams)!r}"

    def identity(self) -> str:
        """What the loss depends on beside the network: the code of ``training_step``, and hyperparameters kept."""
        return self._identity

    def __call__(self, model: nn.Module, batch: Any) -> Tensor:
        """The loss of a minibatch, one number with its graph.

        Raises:
            InputError: If ``training_step`` gives neither a tensor nor a mapping with a ``loss``.
        """
        module: Any = model
        given = module.on_after_batch_transfer(module.on_before_batch_transfer(batch, 0), 0)
        found = module.training_step(given, 0) if self._batch_argument else module.training_step(given)
        loss = found.get("loss") if isinstance(found, Mapping) else found
        if not isinstance(loss, Tensor):
            raise InputError(
                f"{type(model).__name__}.training_step gave a {type(found).__name__} without a loss.",
                'Return the loss of the batch, or a dictionary with "loss".',
            )
        return loss


def from_lightning(module: Any, data: Any = None, *, trainer: Any = None, name: str | None = None) -> Adapted:
    """A task and a candidate from a ``LightningModule`` with automatic optimization.

    Taken over: the network as it is now, ``training_step`` as the loss (what it logs is dropped), the data sets with
    their collation and batch size, the optimizer and the schedule of ``configure_optimizers``, and of a Trainer its
    budget, gradient clipping and ``bf16-mixed``.

    Args:
        module: Before or after training; it is not changed.
        data: A ``LightningDataModule``, a training ``DataLoader``, or a pair of those for training and validation;
            None: the module's own ``train_dataloader``.
        trainer: A ``lightning.Trainer`` for budget, clipping and precision. Needed where there is a schedule.
        name: Of the task; by default that of the module's class.

    Raises:
        InputError: If it is no LightningModule, or does what raytt does not know.
    """
    if not is_lightning(module):
        raise InputError(f"from_lightning got a {type(module).__name__}.", "Give a lightning.LightningModule.")
    if not module.automatic_optimization:
        raise InputError(
            f"{type(module).__name__} has manual optimization: its training_step takes the updates itself.",
            "Set automatic_optimization=True, or give a raytt.Task with a batch_loss.",
        )
    _refuse(trainer)
    train, validation = _loaders(module, data)
    items = Items(train.dataset, "training data set")
    batch_size = _batch_size(train)
    accumulated = 1 if trainer is None else int(trainer.accumulate_grad_batches)
    minibatches = len(items) // batch_size if train.drop_last else -(-len(items) // batch_size)
    per_epoch = -(-minibatches // accumulated)
    steps = _steps(trainer, per_epoch)
    stand_in = StandIn(
        steps=steps,
        num_training_batches=minibatches,
        accumulate_grad_batches=accumulated,
        max_epochs=getattr(trainer, "max_epochs", None),
        max_steps=getattr(trainer, "max_steps", -1),
    )
    factory = CapturedModel(module, finish=[Attach(stand_in)])
    settings, fields, notes = _optimization(factory(), steps=steps, per_epoch=per_epoch)
    if len(items) % batch_size and not train.drop_last:
        notes.append("Lightning ends each epoch with a smaller minibatch; raytt's all have the same size.")
    task = Task(
        name=name or re.sub(r"[^A-Za-z0-9._-]", "-", type(module).__name__).lstrip("._-") or "module",
        model=factory,
        data=items,
        validation=None if validation is None else Items(validation.dataset, "validation data set"),
        batch_loss=TrainingStepLoss(module),
        collate=train.collate_fn,
        mode="train",
        precision="float32" if trainer is None else _PRECISIONS[str(trainer.precision)],
        **fields,
    )
    candidate = Candidate(
        **settings,
        batch_size=batch_size,
        accumulation_steps=accumulated,
        max_grad_norm=getattr(trainer, "gradient_clip_val", None) or None,
        **_budget(trainer, steps, per_epoch),
    )
    return Adapted(task=task, candidate=candidate, seed=int(os.environ.get("PL_GLOBAL_SEED", 0)), notes=tuple(notes))


def _refuse(trainer: Any) -> None:
    if trainer is None:
        return
    problems = {
        f"precision={trainer.precision!r}": (
            str(trainer.precision) not in _PRECISIONS,
            f"Use one of: {', '.join(_PRECISIONS)}",
        ),
        "gradient clipping by value": (
            bool(trainer.gradient_clip_val) and str(trainer.gradient_clip_algorithm or "norm") not in _BY_NORM,
            "Use gradient_clip_algorithm='norm'",
        ),
        f"{trainer.world_size} processes": (trainer.world_size > 1, "Use devices=1 with the batch size of all"),
    }
    for what, (found, remedy) in problems.items():
        if found:
            raise InputError(f"The Trainer has {what}, which raytt does not take over.", f"{remedy}.")


_PRECISIONS: dict[str, Literal["float32", "bfloat16", "float16"]] = {
    "32-true": "float32",
    "32": "float32",
    "bf16-mixed": "bfloat16",
    "16-mixed": "float16",
}
_BY_NORM = ("norm", "GradClipAlgorithmType.NORM")


def _loaders(module: Any, data: Any) -> tuple[Any, Any]:
    """Training and validation loaders."""
    source = module if data is None else data
    if hasattr(source, "train_dataloader"):
        if hasattr(source, "prepare_data") and source is not module:
            source.prepare_data()
            source.setup("fit")
        pair = (source.train_dataloader(), source.val_dataloader())
    else:
        pair = tuple(source) if isinstance(source, tuple | list) else (source, None)
    train, validation = (*pair, None)[:2]
    if isinstance(validation, tuple | list):
        validation = validation[0] if validation else None
    for loader in (train, validation):
        if loader is not None and not isinstance(loader, torch.utils.data.DataLoader):
            raise InputError(
                f"The data is a {type(loader).__name__}, not a DataLoader.",
                "Give a LightningDataModule, a DataLoader, or a pair of them, for training and validation.",
            )
    if train is None:
        raise InputError("There is no training data.", "Give a LightningDataModule or a DataLoader.")
    return train, validation


def _batch_size(loader: Any) -> int:
    if loader.batch_size is None:
        raise InputError(
            "The training DataLoader has no batch_size (a batch sampler of its own, or no batching).",
            "Build it with batch_size, or set candidates' batch_size and give a raytt.Task.",
        )
    return int(loader.batch_size)


def _steps(trainer: Any, per_epoch: int) -> int | None:
    """The whole budget T; None where it is not known."""
    if trainer is None:
        return None
    bounds = []
    if trainer.max_steps is not None and trainer.max_steps > 0:
        bounds.append(int(trainer.max_steps))
    if trainer.max_epochs is not None and trainer.max_epochs > 0:
        bounds.append(int(trainer.max_epochs) * per_epoch)
    return min(bounds, default=None)


def _budget(trainer: Any, steps: int | None, per_epoch: int) -> dict[str, Any]:
    if steps is None:
        return {}
    if trainer.max_epochs is not None and steps == trainer.max_epochs * per_epoch:
        return {"max_epochs": float(trainer.max_epochs)}
    return {"max_steps": steps}


def _optimization(
    module: Any, *, steps: int | None, per_epoch: int
) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """Hyperparameters of the candidate, fields of the task, notes."""
    optimizers, schedulers = _configured(module)
    if len(optimizers) != 1:
        raise InputError(
            f"{type(module).__name__}.configure_optimizers gives {len(optimizers)} optimizers.",
            "Return one optimizer for the parameters that train.",
        )
    read = read_optimizer(optimizers[0], module)
    fields = task_settings(read, module)
    if not schedulers:
        return read.settings, fields, []
    if len(schedulers) > 1:
        raise InputError("There are several learning-rate schedulers.", "Chain them in one (SequentialLR).")
    config = schedulers[0] if isinstance(schedulers[0], Mapping) else {"scheduler": schedulers[0]}
    scheduler = config["scheduler"]
    if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
        raise InputError("ReduceLROnPlateau depends on results, so that no schedule is known before.", "Use another.")
    if steps is None:
        raise InputError(
            "A learning-rate schedule needs the budget.", "Give trainer=lightning.Trainer(max_epochs=…) or max_steps."
        )
    every = int(config.get("frequency", 1)) * (1 if config.get("interval", "epoch") == "step" else per_epoch)
    factors = run_scheduler(optimizers[0], scheduler, steps=steps, every=every)
    lr = read.settings["lr"]
    found = nearest_schedule(factors, lr=lr)
    notes = []
    if found.error > EXACT:
        notes.append(
            f"{type(scheduler).__name__} is taken for schedule {found.settings['schedule']!r}, whose learning rates "
            f"differ by up to {100 * found.error:.1f} % of the peak."
        )
    if found.warmup_error > EXACT:
        notes.append(
            f"The warm-up is taken for a linear one, with learning rates that differ by up to "
            f"{100 * found.warmup_error:.0f} % of the peak."
        )
    return {**read.settings, **found.settings, "lr": lr * found.peak}, fields, notes


def _configured(module: Any) -> tuple[list[Any], list[Any]]:
    """Optimizers and schedulers, in any of the forms that Lightning takes."""
    given = module.configure_optimizers()
    match given:
        case None:
            return [], []
        case torch.optim.Optimizer():
            return [given], []
        case {"optimizer": optimizer, **rest}:
            return [optimizer], [rest["lr_scheduler"]] if "lr_scheduler" in rest else []
        case [[*optimizers], schedulers]:
            return optimizers, list(schedulers) if isinstance(schedulers, list | tuple) else [schedulers]
        case [{"optimizer": optimizer, **rest}]:
            return [optimizer], [rest["lr_scheduler"]] if "lr_scheduler" in rest else []
        case [*optimizers]:
            return optimizers, []
    raise InputError(
        f"{type(module).__name__}.configure_optimizers gave a {type(given).__name__}.",
        "Return an optimizer, or a dictionary with optimizer and lr_scheduler.",
    )
