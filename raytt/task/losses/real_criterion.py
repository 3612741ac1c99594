"""Losses of torch on real numbers, position by position: squared, absolute, Huber, logistic for several labels."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor, nn

from raytt.errors import InputError
from raytt.task.losses._layout import as_outputs_have
from raytt.task.losses.criterion import Criterion


@dataclass(frozen=True, kw_only=True, eq=False)
class RealCriterion(Criterion):
    """A criterion that compares outputs with targets of the same size, number by number.

    Targets of any numeric type become floating and take the outputs' shape where only dimensions of size one differ:
    torch would broadcast outputs (n, 1) against targets (n,) to n × n differences.
    """

    def prepared(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if targets.shape == outputs.shape:
            return as_outputs_have(outputs, targets)
        if [size for size in targets.shape if size > 1] != [size for size in outputs.shape if size > 1]:
            raise InputError(
                f"{type(self.module).__name__} compares outputs with targets number by number, but outputs have shape "
                f"{tuple(outputs.shape)} and targets {tuple(targets.shape)}.",
                "Give one target per output.",
            )
        return as_outputs_have(outputs, targets).reshape(outputs.shape)

    def floor(self, num_outputs: int) -> float:
        return 0.0


@dataclass(frozen=True, kw_only=True, eq=False)
class BinaryCriterion(RealCriterion):
    """``torch.nn.BCEWithLogitsLoss``: the mean of logistic losses over samples and labels, targets in [0, 1]."""

    module: nn.Module = field(default_factory=nn.BCEWithLogitsLoss)


@dataclass(frozen=True, kw_only=True, eq=False)
class MeanSquaredError(RealCriterion):
    """``torch.nn.MSELoss``: the mean of (f − y)² over samples and outputs."""

    module: nn.Module = field(default_factory=nn.MSELoss)


@dataclass(frozen=True, kw_only=True, eq=False)
class AbsoluteError(RealCriterion):
    """``torch.nn.L1Loss``: the mean of |f − y| over samples and outputs."""

    module: nn.Module = field(default_factory=nn.L1Loss)


@dataclass(frozen=True, kw_only=True, eq=False)
class SmoothL1(RealCriterion):
    """``torch.nn.SmoothL1Loss``: ½ d²/β where d = |f − y| < β, else d − β/2; the mean over samples and outputs."""

    module: nn.Module = field(default_factory=nn.SmoothL1Loss)


@dataclass(frozen=True, kw_only=True, eq=False)
class Huber(RealCriterion):
    """``torch.nn.HuberLoss``: ½ d² where d = |f − y| < δ, else δ (d − δ/2); the mean over samples and outputs."""

    module: nn.Module = field(default_factory=nn.HuberLoss)


@dataclass(frozen=True, kw_only=True, eq=False)
class KullbackLeibler(RealCriterion):
    """``torch.nn.KLDivLoss``: outputs are log-probabilities, targets probabilities (or their logarithms).

    Per sample Σ_c y_c (ln y_c − f_c) for ``reduction="batchmean"``, the mean over c for ``"mean"``.
    """

    module: nn.Module = field(default_factory=lambda: nn.KLDivLoss(reduction="batchmean"))
    _MEANS: ClassVar[tuple[str, ...]] = ("mean", "none", "batchmean")

    def per_sample(self, outputs: Tensor, targets: Tensor) -> Tensor:
        module: nn.KLDivLoss = self.module  # type: ignore[assignment]
        values = nn.functional.kl_div(
            outputs, self.prepared(outputs, targets), reduction="none", log_target=module.log_target
        ).flatten(1)
        return values.sum(dim=1) if module.reduction == "batchmean" else values.mean(dim=1)

    def floor(self, num_outputs: int) -> float:
        # Outputs that are no logarithms of probabilities can be as large as they like.
        return -math.inf
