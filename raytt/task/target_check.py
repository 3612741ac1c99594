"""Targets that no training could meet."""

from __future__ import annotations

from scipy.special import entr

from raytt.errors import InputError
from raytt.task.losses import CrossEntropy, Loss
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

    With label smoothing s over C outputs, cross-entropy is nowhere below the entropy of the smoothed target,
    −q ln q − (C − 1)(s/C) ln(s/C) with q = 1 − s + s/C.

    Args:
        target: The event.
        loss: What is minimised.
        has_validation: Whether the task has validation data.
        num_outputs: C.
        initial_loss: Mean training loss at the pre-trained weights.
    """
    if target.needs_validation and not has_validation:
        raise InputError(f"Target {target} needs validation data.", "Give Task a `validation`, or take another target.")
    if target.kind in ("accuracy", "val_accuracy") and type(loss).correct is Loss.correct:
        raise InputError(
            f"Target {target} needs a loss with a notion of a correct answer, and {type(loss).__name__} has none.",
            "Take a loss target, or use loss='cross_entropy'.",
        )
    relative = target.kind in ("loss_ratio", "plateau")
    if relative and initial_loss is not None and not initial_loss > 0.0:
        raise InputError(
            f"Target {target} is relative to the loss, which is {initial_loss:g} at the pre-trained weights.",
            "A relative target needs a positive initial loss: take an absolute one, or train something left to learn.",
        )
    if target.kind == "loss_ratio":
        level = None if initial_loss is None else target.value * initial_loss
    else:
        level = target.value if target.kind in ("loss", "val_loss") else None
    if level is not None and isinstance(loss, CrossEntropy) and num_outputs is not None:
        floor = _smoothing_entropy(loss.label_smoothing, num_outputs)
        if level <= floor:
            raise InputError(
                f"Target {target} asks for a loss of {level:.4g}, but with label smoothing {loss.label_smoothing:g} "
                f"over {num_outputs} outputs cross-entropy cannot fall below {floor:.4g}.",
                "Take a higher target, an accuracy, or less label smoothing.",
            )


def _smoothing_entropy(smoothing: float, num_outputs: int) -> float:
    rest = smoothing / num_outputs
    return float(entr(1.0 - smoothing + rest) + (num_outputs - 1) * entr(rest))
