"""Rules for per-sample gradients, one file per kind of layer: which functions they cover, and where they are found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from raytt.probe.layers import conv, elementwise, embedding, linear, norm
from raytt.probe.layers.use import Use

RULES: dict[Any, Callable[..., Use | None]] = {
    functional.linear: linear.linear,
    torch.matmul: linear.matmul,
    Tensor.matmul: linear.matmul,
    torch.mm: linear.matmul,
    torch.addmm: linear.addmm,
    torch.conv1d: conv.conv1d,
    torch.conv2d: conv.conv2d,
    torch.conv3d: conv.conv3d,
    torch.batch_norm: norm.batch_norm,
    torch.layer_norm: norm.layer_norm,
    torch.group_norm: norm.group_norm,
    torch.instance_norm: norm.instance_norm,
    torch.rms_norm: norm.rms_norm,
    torch.embedding: embedding.embedding,
    torch.add: elementwise.add,
    Tensor.add: elementwise.add,
    Tensor.add_: elementwise.add,
    torch.sub: elementwise.sub,
    Tensor.sub: elementwise.sub,
    torch.mul: elementwise.mul,
    Tensor.mul: elementwise.mul,
    Tensor.expand: elementwise.expand,
}
"""From a torch function to the rule that describes its use of trainable parameters; called with the function's result,
a function that finds trainable segments among arguments, and the function's own arguments."""
