"""Scale and shift of batch (with stored statistics), layer, group, instance and root-mean-square norms.

Each norm is out = x̂ ⊙ w + b; x̂ comes from the very same function without w and b,
at least in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from raytt.probe.layers.elementwise import ElementwiseUse, pad_shape
from raytt.probe.layers.linear import Locate
from raytt.probe.layers.use import Segment, Use, widen


def batch_norm(
    out: Tensor,
    locate: Locate,
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,
) -> Use | None:
    """Rule for ``torch.batch_norm``; none with batch statistics, which mix samples."""
    if training:
        return None
    x = input.detach()

    def normalized() -> Tensor:
        mean, var = (None if s is None else widen(s) for s in (running_mean, running_var))
        return torch.batch_norm(widen(x), None, None, mean, var, False, momentum, eps, cudnn_enabled)

    return _per_channel(out, normalized, locate(weight), locate(bias))


def instance_norm(
    out: Tensor,
    locate: Locate,
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,
) -> Use | None:
    """Rule for ``torch.instance_norm`` without running statistics."""
    if running_mean is not None:
        return None
    x = input.detach()

    def normalized() -> Tensor:
        return torch.instance_norm(widen(x), None, None, None, None, use_input_stats, momentum, eps, cudnn_enabled)

    return _per_channel(out, normalized, locate(weight), locate(bias))


def group_norm(
    out: Tensor,
    locate: Locate,
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enabled: bool = True,
) -> Use | None:
    """Rule for ``torch.group_norm``."""
    x = input.detach()

    def normalized() -> Tensor:
        return torch.group_norm(widen(x), num_groups, None, None, eps, cudnn_enabled)

    return _per_channel(out, normalized, locate(weight), locate(bias))


def layer_norm(
    out: Tensor,
    locate: Locate,
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Use | None:
    """Rule for ``torch.layer_norm``."""
    x = input.detach()

    def normalized() -> Tensor:
        return torch.layer_norm(widen(x), normalized_shape, None, None, eps, cudnn_enable)

    shape = pad_shape(torch.Size(normalized_shape), out.ndim)
    return ElementwiseUse("norm", out, normalized, shape, locate(weight), locate(bias))


def rms_norm(
    out: Tensor,
    locate: Locate,
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Use | None:
    """Rule for ``torch.rms_norm``."""
    x = input.detach()

    def normalized() -> Tensor:
        return torch.rms_norm(widen(x), normalized_shape, None, eps)

    shape = pad_shape(torch.Size(normalized_shape), out.ndim)
    return ElementwiseUse("norm", out, normalized, shape, locate(weight), None)


def _per_channel(
    out: Tensor, normalized: Callable[[], Tensor], weight: Segment | None, bias: Segment | None
) -> Use | None:
    shape = (1, out.shape[1], *(1,) * (out.ndim - 2))
    return ElementwiseUse("norm", out, normalized, shape, weight, bias)
