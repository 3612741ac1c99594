"""Where classes stand in outputs for many positions: tokens, pixels."""

from __future__ import annotations

import torch
from torch import Tensor

from raytt.errors import InputError

IGNORED = -100
"""torch's default label of positions that do not count."""


def flat_positions(outputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs as (positions, C) and labels as (positions,), one class index per position.

    ======================  ===================  =========================
    outputs                 labels               such as
    ======================  ===================  =========================
    (n, C)                  (n,)                 a class per sample
    (n, T, C)               (n, T)               tokens (transformers)
    (n, C, d1, d2, …)       (n, d1, d2, …)       tokens or pixels (torch)
    ======================  ===================  =========================

    Raises:
        InputError: If the shapes are none of these, or could be both of the last two.
    """
    if outputs.ndim < 2:
        raise _misfit(outputs, labels)
    last = outputs.shape[:-1] == labels.shape
    second = outputs.shape[:1] + outputs.shape[2:] == labels.shape
    if last and second and outputs.ndim > 2:
        raise InputError(
            f"Outputs of shape {tuple(outputs.shape)} with labels of shape {tuple(labels.shape)} may have their "
            "classes in the second or in the last dimension.",
            "Give Task a `forward` that returns (positions, classes), and a `collate` with labels (positions,).",
        )
    if last:
        return outputs.reshape(-1, outputs.shape[-1]), labels.reshape(-1)
    if second:
        return outputs.movedim(1, -1).reshape(-1, outputs.shape[1]), labels.reshape(-1)
    raise _misfit(outputs, labels)


def share_of_correct(outputs: Tensor, labels: Tensor, ignored: int = IGNORED) -> Tensor:
    """The share of positions whose largest output is that of their label, one number; those ignored do not count."""
    flat, wanted = flat_positions(outputs, labels)
    counts = wanted != ignored
    right = (flat.argmax(dim=-1) == wanted) & counts
    return right.sum().to(torch.float64) / counts.sum().clamp(min=1)


def as_labels(targets: Tensor) -> Tensor:
    """Class indices of any integer type, or whole floating numbers, as int64; other floating targets as they are."""
    if not targets.is_floating_point():
        return targets.to(torch.int64)
    whole = targets.to(torch.int64)
    # Fractional numbers are class probabilities, whose shape torch's own loss checks.
    return whole if bool((whole.to(targets.dtype) == targets).all()) else targets


def as_outputs_have(outputs: Tensor, targets: Tensor) -> Tensor:
    """Real targets in the precision of the outputs (single where those are half): data is often in double."""
    wanted = torch.float32 if outputs.dtype in (torch.float16, torch.bfloat16) else outputs.dtype
    return targets.to(wanted) if outputs.is_floating_point() and not targets.is_complex() else targets


def _misfit(outputs: Tensor, labels: Tensor) -> InputError:
    return InputError(
        f"Outputs of shape {tuple(outputs.shape)} do not fit labels of shape {tuple(labels.shape)}.",
        "Outputs must be (n, C) with labels (n,), (n, T, C) with (n, T), or (n, C, H, W) with (n, H, W). If sizes "
        "differ, give Task a `forward` that brings outputs to the labels' size (torch.nn.functional.interpolate).",
    )
