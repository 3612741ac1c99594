"""The target where none is named, and targets that no training could meet."""

from __future__ import annotations

from raytt.errors import InputError
from raytt.task.losses import Loss
from raytt.task.target import Target
from raytt.task.task import Task

LOSS_RATIO = 0.1
"""Of the initial training loss, where no target is named."""
VAL_LOSS_RATIO = 0.3
"""Of the initial validation loss, where no target is named: what a network learns of other samples ends higher."""


def default_target(task: Task) -> Target:
    """The target where none is named: on validation data in eval mode where there is any, else on the training loss.

    With ``mode="eval"`` it is on the training loss: validation curves are less well predicted there.
    """
    if task.mode == "train" and task.validation is not None:
        return Target(kind="val_loss_ratio", value=VAL_LOSS_RATIO)
    return Target(kind="loss_ratio", value=LOSS_RATIO)


def check_sign(target: Target, lowest: float) -> None:
    """Raise `InputError` if the target is a share of a loss that may be negative.

    Args:
        target: The event.
        lowest: The lowest loss that is known to be possible.
    """
    if (target.relative or target.settles) and lowest < 0.0:
        raise InputError(
            f"Target {target} is relative to the loss, which may be negative (a value of {lowest:.3g} was found): a "
            "share of it means nothing.",
            "Take an absolute target, such as loss=-1.",
        )


def check_target(
    target: Target,
    *,
    loss: Loss | None,
    has_validation: bool,
    num_outputs: int | None = None,
    initial_loss: float | None = None,
) -> None:
    """Raise `InputError` if no training could meet the target; to be repeated once the initial loss is known.

    A loss target must lie above the loss's own lower bound (`Loss.floor`), which label smoothing raises above 0.

    Args:
        target: The event.
        loss: What is minimised; None: `Task.batch_loss`, which has no notion of a correct answer.
        has_validation: Whether the task has validation data.
        num_outputs: C.
        initial_loss: Mean training loss at the pre-trained weights.
    """
    if target.needs_validation and not has_validation:
        raise InputError(f"Target {target} needs validation data.", "Give Task a `validation`, or take another target.")
    if target.on_accuracy and (loss is None or type(loss).correct is Loss.correct):
        name = "batch_loss" if loss is None else type(loss).__name__
        raise InputError(
            f"Target {target} needs a loss with a notion of a correct answer, and {name} has none.",
            "Take a loss target, or use loss='cross_entropy'.",
        )
    told = target.curve == "train_loss"
    if told and (target.relative or target.settles) and initial_loss is not None and not initial_loss > 0.0:
        raise InputError(
            f"Target {target} is relative to the loss, which is {initial_loss:g} at the pre-trained weights.",
            "A relative target needs a positive initial loss: take an absolute one, or train something left to learn.",
        )
    relative = target.relative and (initial_loss is None or not told)
    known = not (target.settles or target.on_accuracy or relative)
    level = float(target.level(initial_loss or 0.0)) if known else None
    if level is not None and loss is not None:
        # Of one output no loss is higher than of several.
        floor = loss.floor(1 if num_outputs is None else num_outputs)
        if level <= floor:
            over = "" if num_outputs is None else f"over {num_outputs} outputs "
            raise InputError(
                f"Target {target} asks for a loss of {level:.4g}, but {over}{loss!r} cannot fall below {floor:.4g}.",
                "Take a higher target, one on accuracy, or a loss with a lower bound (such as less label smoothing).",
            )
