"""Lion for torch, which has none of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.optim.optimizer import ParamsT


class TorchLion(torch.optim.Optimizer):
    """c ← β₁m + (1 − β₁)g; w ← (1 − ηλ) w − η sign(c); m ← β₂m + (1 − β₂)g.

    Source: Chen et al. 2023, *Symbolic discovery of optimization algorithms*, arXiv 2302.06675, algorithm 2.

    Args:
        params: As of any optimizer of torch.
        lr: η.
        betas: (β₁, β₂).
        weight_decay: λ.
    """

    def __init__(
        self, params: ParamsT, lr: float = 1e-4, betas: tuple[float, float] = (0.9, 0.99), weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make one update."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            first, second = group["betas"]
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["exp_avg"] = torch.zeros_like(weight)
                average = state["exp_avg"]
                direction = torch.lerp(weight.grad, average, first).sign_()
                weight.mul_(1.0 - group["lr"] * group["weight_decay"]).add_(direction, alpha=-group["lr"])
                average.lerp_(weight.grad, 1.0 - second)
        return loss
