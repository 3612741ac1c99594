"""``torch.nn.CrossEntropyLoss`` and ``NLLLoss``: classes per sample, token or pixel, weighted, smoothed, ignored."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from raytt.task.losses._layout import IGNORED, as_labels, as_outputs_have, flat_positions, share_of_correct
from raytt.task.losses.criterion import Criterion


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassCriterion(Criterion):
    """A criterion on class indices: the weighted mean over positions that are not ignored, as torch takes it.

    Outputs may be (n, C), (n, T, C) or (n, C, H, W). Class probabilities as targets go to the module as they are.
    """

    def batch_value(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if targets.shape != outputs.shape:
            outputs, targets = flat_positions(outputs, targets)
        return super().batch_value(outputs, targets)

    def prepared(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return as_outputs_have(outputs, targets) if targets.shape == outputs.shape else targets

    def convert(self, targets: Tensor) -> Tensor:
        return self.convert_batch(targets)

    def convert_batch(self, targets: Tensor) -> Tensor:
        return as_labels(targets)

    def floor(self, num_outputs: int) -> float:
        # Log-probabilities that a network gives itself may be none.
        return 0.0 if isinstance(self.module, nn.CrossEntropyLoss) else -math.inf

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs.argmax(dim=-1) == (targets.argmax(dim=-1) if targets.is_floating_point() else targets)

    def batch_accuracy(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if targets.shape == outputs.shape:
            return (outputs.argmax(dim=1) == targets.argmax(dim=1)).to(torch.float64).mean()
        module: Any = self.module
        return share_of_correct(outputs, targets, int(getattr(module, "ignore_index", IGNORED)))
