"""Running statistics of batch norms, which lag behind the weights while a network trains.

In eval mode a batch norm uses running means and variances r, of which each minibatch replaces the share m (its
``momentum``). At weights that stood still they would *settle* at r*(w), the mean of the minibatches' statistics there.
While weights move r is a mixture of what was there on the way,

    r_t = (1 − m)^t r_0 + m Σ_{u ≤ t} (1 − m)^{t−u} r*(w_u),

with r_0 of the pre-trained network. At m = 0.01 a run of 50 steps is evaluated with statistics of which 60 % are still
those of pre-training.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

Floats = NDArray[np.float64]

SMALLEST = 1e-5
"""Variances are compared with this added to them, as the norms' own ε."""


def tracking_norms(module: nn.Module) -> list[_BatchNorm]:
    """The batch norms that update running statistics in the present mode, in the order of ``modules``."""
    return [m for m in module.modules() if isinstance(m, _BatchNorm) and m.training and m.running_mean is not None]


def momentum_of(norms: Sequence[_BatchNorm]) -> float:
    """m: the median of the norms' momenta; 0 stands for a cumulative average (momentum None)."""
    return float(np.median([0.0 if norm.momentum is None else norm.momentum for norm in norms]))


def read_statistics(norms: Sequence[_BatchNorm]) -> Tensor:
    """r: all running means and then all running variances, float64 on the CPU; shape ``(2 channels,)``."""
    parts = [norm.running_mean for norm in norms] + [norm.running_var for norm in norms]
    return torch.cat([part.detach().to("cpu", torch.float64).reshape(-1) for part in parts if part is not None])


def write_statistics(norms: Sequence[_BatchNorm], statistics: Tensor) -> None:
    """Overwrite the running statistics by ``statistics``, shape ``(2 channels,)``."""
    start = 0
    with torch.no_grad():
        for part in [norm.running_mean for norm in norms] + [norm.running_var for norm in norms]:
            assert part is not None
            part.copy_(statistics[start : start + part.numel()].view_as(part))
            start += part.numel()


def statistics_gram(statistics: Sequence[Tensor], base: Tensor) -> Floats:
    """Inner products of statistics as the network feels them, shape ``(n, n)``.

    Coordinates are (mean − mean_b)/√var_b and ln(var/var_b) of each channel with those of ``base`` as b, so that every
    channel counts alike whatever its scale; the sum is divided by the number of channels.
    """
    channels = len(base) // 2
    mean, scale = base[:channels], (base[channels:] + SMALLEST).sqrt()
    rows = torch.stack(
        [
            torch.cat([(s[:channels] - mean) / scale, ((s[channels:] + SMALLEST) / (base[channels:] + SMALLEST)).log()])
            for s in statistics
        ]
    )
    gram: Floats = (rows @ rows.T / channels).numpy()
    return gram
