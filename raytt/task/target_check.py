"""Targets that no training could meet."""

from __future__ import annotations

from raytt.errors import InputError
from raytt.task.losses import Loss
from raytt.task.target import Target


def check_target(
    target: Target,
    *,
    loss: Loss,
    has_validation: bool,
    num_outputs: int | None = None,
    initial_loss: float | None = None,
) -> None:
    """Raise `InputError` if no training could meet the target; to be repeated once the initial loss is known.

    A loss target must lie above the loss's own lower bound (`Loss.floor`), which label smoothing raises above 0.

    Args:
        target: The event.
        loss: What is minimised.
        has_validation: Whether the task has validation data.
        num_outputs: C.
        initial_loss: Mean training loss at the pre-trained weights.
    """
    if target.needs_validation and not has_validation:
        raise InputError(f"Target {target} needs validation data.", "Give Task a `validation`, or take another target.")
    if target.on_accuracy and type(loss).correct is Loss.correct:
        raise InputError(
            f"Target {target} needs a loss with a notion of a correct answer, and {type(loss).__name__} has none.",
            "Take a loss target, or use loss='cross_entropy'.",
        )
    if (target.relative or target.settles) and initial_loss is not None and not initial_loss > 0.0:
        raise InputError(
            f"Target {target} is relative to the loss, which is {initial_loss:g} at the pre-trained weights.",
            "A relative target needs a positive initial loss: take an absolute one, or train something left to learn.",
        )
    known = not (target.settles or target.on_accuracy or (target.relative and initial_loss is None))
    level = float(target.level(initial_loss or 0.0)) if known else None
    if level is not None and num_outputs is not None:
        floor = loss.floor(num_outputs)
        if level <= floor:
            raise InputError(
                f"Target {target} asks for a loss of {level:.4g}, but over {num_outputs} outputs {loss!r} cannot fall "
                f"below {floor:.4g}.",
                "Take a higher target, one on accuracy, or a loss with a lower bound (such as less label smoothing).",
            )
