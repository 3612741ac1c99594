"""Adafactor: steps in proportion to the weights, scaled by factored second moments."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from raytt.errors import InputError
from raytt.task.checks import within
from raytt.task.optimizers._base import Optimizer, Rate, WeightTensor, log_median, refuse_momentum

if TYPE_CHECKING:
    from torch import Tensor, optim
    from torch.optim.optimizer import ParamsT


@dataclass(frozen=True, kw_only=True)
class Adafactor(Optimizer):
    """W ← (1 − ηλ) W − ρ_t max(ε₂, RMS(W)) U / max(1, RMS(U)/d), U = G/max(√V̂, ε₁), ρ_t = min(η_t, 1/√t), t = 1, 2, …

    V̂ = R C / max(mean R, ε₁) with R and C the means of V over the last and over the last but one dimension, for each
    index of the others; V̂ = V for vectors. V ← (1 − t^c) V + t^c G², c = `beta2_decay`; the step is one of each tensor.

    Source: Shazeer and Stern 2018, arXiv 1804.04235; ``torch.optim.Adafactor``, whose places of ε₁ these are. (That of
    transformers neither has ρ_t nor, with Trainer's ``optim="adafactor"``, RMS(W).) The simulation of eval mode does
    not know it: its candidates need ``mode="train"``.

    *Descent rate.* V's memory grows with the run, so that V̂ is that of E G² = ḡ² + s² and RMS(U)² the mean of
    (ḡ² + s²)/V̂: exact for tensors of many weights, while a bias of a few is clipped in some steps more than in others.
    RMS(W) is that of the place on the reference's path. *Learning-rate time* is Σ ρ_t. Weight decay, and parameter
    groups with learning rates of their own, are counted as if the cap 1/√t applied to both alike; it matters from step
    1/η² on.
    """

    name: ClassVar[str] = "adafactor"
    trusted_share: ClassVar[float] = 0.4
    scale_free: ClassVar[bool] = True
    factored: ClassVar[bool] = True

    beta2_decay: float = -0.8
    """c ≤ 0: the newest G² has the share t^c in V."""
    eps: tuple[float | None, float] = (None, 1e-3)
    """(ε₁, ε₂): ε₁ > 0, None for the resolution of the weights' dtype; ε₂ ≥ 0."""
    d: float = 1.0
    """Largest RMS of U, at least 1."""
    weight_decay: float = 0.0
    """λ ≥ 0, per step and weight."""

    def __post_init__(self) -> None:
        self._set(
            beta2_decay=within("beta2_decay", self.beta2_decay, -math.inf, 0.0),
            eps=_check_eps(self.eps),
            d=within("d", self.d, 1.0, math.inf),
            weight_decay=within("weight_decay", self.weight_decay, 0.0, math.inf),
        )

    def torch(self, parameters: ParamsT, lr: float) -> optim.Optimizer:
        """``torch.optim.Adafactor``."""
        from torch.optim import Adafactor as TorchAdafactor

        # Declared as if ε₁ could not be None, which is torch's own default.
        eps: Any = self.eps
        return TorchAdafactor(
            parameters, lr=lr, beta2_decay=self.beta2_decay, eps=eps, d=self.d, weight_decay=self.weight_decay
        )

    @property
    def state_numbers(self) -> int:
        """1: V of a vector. Of tensors with more dimensions R and C alone are kept: `factored`."""
        return 1

    def scratch_numbers(self, *, together: bool) -> int:
        """G² and V̂ of a vector, the last one's until the next one's are there.

        torch updates one parameter after the other unless told otherwise, on GPUs, too.
        """
        return 0 if together else 3

    def effective_lr(self, lr: Rate) -> Rate:
        """``lr`` itself, in units of the weights' own size; the cap 1/√t is in `effective_rates`."""
        return lr

    def effective_rates(self, rates: NDArray[np.float64]) -> NDArray[np.float64]:
        """ρ_t = min(η_t, 1/√(t + 1)), t = 0, 1, …, shape ``(T,)``."""
        return np.asarray(np.minimum(rates, 1.0 / np.sqrt(np.arange(1.0, len(rates) + 1.0))))

    def descent_scale(self, squared_mean: Tensor, variance: Tensor, tensors: Sequence[WeightTensor] = ()) -> Tensor:
        """max(ε₂, RMS(W)) / (max(√V̂, ε₁) max(1, RMS(U)/d)), tensor by tensor, with V = ḡ² + s².

        Raises:
            ValueError: If ``tensors`` are not those of the coordinates.
        """
        import torch

        second, sizes = squared_mean + variance, [tensor.size for tensor in tensors]
        if sum(sizes) != len(second):
            raise ValueError(f"tensors of {sum(sizes)} weights for a gradient of {len(second)} coordinates")
        parts = zip(torch.split(second, sizes), tensors, strict=True)
        return torch.cat([self._scale(part.view(tensor.shape), tensor).reshape(-1) for part, tensor in parts])

    def _scale(self, second: Tensor, tensor: WeightTensor) -> Tensor:
        import torch

        first, least = self.eps
        floor = tensor.resolution if first is None else first
        moment = second
        if second.dim() > 1:
            rows, columns = second.mean(dim=-1, keepdim=True), second.mean(dim=-2, keepdim=True)
            moment = rows @ columns / rows.mean(dim=-2, keepdim=True).clamp(min=floor)
        root = moment.clamp(min=max(floor * floor, torch.finfo(moment.dtype).tiny)).sqrt()
        update = float((second / root.square()).mean().sqrt())
        return max(least, tensor.rms) / (root * max(1.0, update / self.d))

    def stability_limit(self, sharpness: float) -> float:
        """+inf: no step is larger than a share ρ d of the weights' own size, so that it does not grow with theirs."""
        return math.inf

    def stability_share(self, lr: float, sharpness: float) -> float:
        """0."""
        return 0.0

    @classmethod
    def reference(
        cls, candidates: Sequence[tuple[Adafactor, float]], *, stability_limit: float
    ) -> tuple[Adafactor, float]:
        """ε, d and c of the first, no weight decay, at the (logarithmic) median of the learning rates."""
        first = candidates[0][0]
        own = cls(beta2_decay=first.beta2_decay, eps=first.eps, d=first.d)
        return own, log_median([lr for _, lr in candidates])

    def describe(self) -> dict[str, str]:
        """``beta2 decay -0.5``, ``eps none 0.01``, ``d 2``, ``decay 0.01``."""
        pieces = {}
        if self.beta2_decay != -0.8:
            pieces["beta2_decay"] = f"beta2 decay {self.beta2_decay:g}"
        if self.eps != (None, 1e-3):
            first = "none" if self.eps[0] is None else f"{self.eps[0]:.3g}"
            pieces["eps"] = f"eps {first} {self.eps[1]:.3g}"
        if self.d != 1.0:
            pieces["d"] = f"d {self.d:g}"
        if self.weight_decay:
            pieces["weight_decay"] = f"decay {self.weight_decay:.3g}"
        return pieces

    @classmethod
    def check_others(cls, others: Mapping[str, Any]) -> None:
        """Refuse momentum, which it does not have."""
        refuse_momentum(
            cls.name,
            others,
            known=("momentum", "nesterov"),
            remedy="torch's Adafactor has no momentum: leave momentum and nesterov out (in a search space, make them "
            "depend on the optimizer).",
        )


def _check_eps(eps: Any) -> tuple[float | None, float]:
    """(ε₁, ε₂) in plain form.

    Raises:
        InputError: If they are not two numbers, the first above 0 or None, the second at least 0.
    """
    if not isinstance(eps, tuple | list) or len(eps) != 2:
        raise InputError(
            f"eps is {eps!r}.",
            "adafactor takes two numbers (ε₁ or None, ε₂), such as (None, 1e-3) (in a search space with other "
            "optimizers, make eps depend on the optimizer).",
        )
    first = None if eps[0] is None else within("ε₁ of eps", eps[0], 0.0, math.inf, open_low=True)
    return first, within("ε₂ of eps", eps[1], 0.0, math.inf)
