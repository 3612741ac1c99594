"""Focal loss, for classes of which some are rare."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from raytt.errors import InputError
from raytt.task.losses._autograd import AutogradLoss
from raytt.task.losses._base import check_outputs
from raytt.task.losses._layout import IGNORED, as_labels, flat_positions, share_of_correct
from raytt.task.losses.cross_entropy import check_labels


@dataclass(frozen=True, kw_only=True)
class Focal(AutogradLoss):
    """ℓ = −α_y (1 − p_y)^γ ln p_y with p = softmax(f), y the class; the mean over positions that are not ignored.

    Source: Lin et al. 2017, *Focal loss for dense object detection* (arXiv 1708.02002), its form for several classes.

    Raises:
        InputError: If γ or a weight is negative.
    """

    gamma: float = 2.0
    """γ ≥ 0; 0 is cross-entropy."""
    alpha: tuple[float, ...] | None = None
    """Weight α of each class; None: all 1."""
    ignore_index: int = IGNORED
    """Label of positions that do not count."""

    def __post_init__(self) -> None:
        if self.gamma < 0.0 or any(weight < 0.0 for weight in self.alpha or ()):
            raise InputError(f"Focal has gamma={self.gamma}, alpha={self.alpha}.", "Give numbers of at least 0.")

    def per_sample(self, outputs: Tensor, targets: Tensor) -> Tensor:
        logs = torch.log_softmax(outputs, dim=-1)
        own = logs.gather(-1, targets.clamp(min=0).unsqueeze(-1)).squeeze(-1)
        # −expm1 is exact where p is near 1, and its power has a gradient at p = 1, too.
        losses = -((-torch.expm1(own)).clamp(min=1e-12) ** self.gamma) * own
        return losses if self.alpha is None else outputs.new_tensor(self.alpha)[targets.clamp(min=0)] * losses

    def batch_value(self, outputs: Tensor, targets: Tensor) -> Tensor:
        flat, labels = flat_positions(outputs, targets)
        counts = labels != self.ignore_index
        return torch.where(counts, self.per_sample(flat, labels), 0.0).sum() / counts.sum().clamp(min=1)

    def batch_accuracy(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return share_of_correct(outputs, targets, self.ignore_index)

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs.argmax(dim=-1) == targets

    def convert(self, targets: Tensor) -> Tensor:
        return as_labels(targets)

    def floor(self, num_outputs: int) -> float:
        return 0.0

    def check(self, outputs: Tensor, targets: Tensor) -> None:
        num_outputs = check_outputs(outputs)
        if targets.dtype != torch.int64 or targets.shape != outputs.shape[:1]:
            raise InputError(
                f"Focal loss needs a class index per sample, but the targets are {targets.dtype} of shape "
                f"{tuple(targets.shape)}.",
                "Return class indices from the data set.",
            )
        if self.alpha is not None and len(self.alpha) != num_outputs:
            raise InputError(
                f"Focal has {len(self.alpha)} weights for {num_outputs} outputs.", "Give one weight per class."
            )
        check_labels(targets, num_outputs)
