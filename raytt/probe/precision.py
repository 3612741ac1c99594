"""The network in lower precision: its passes in bfloat16, everything that adds up in float32.

What runs where, with u = 2⁻⁸ the relative rounding of bfloat16:

* Weights stay float32. The forward pass runs under ``torch.autocast``, which gives matrix products and convolutions
  bfloat16 copies of inputs and weights; the backward pass follows in the types of the forward pass. Each rounds by u.
* Output gradients γ and layer inputs a come out of it in bfloat16 and are widened *before* they are contracted:
  Σ_p γ[p] a[p], its tiles, sketches and radial derivatives add up in float32 (`raytt.probe.jacobian`). Added up in
  bfloat16 a sum of ones would stop at 256.
* Outputs are returned as float32.
* Routes are chosen and checked in float32 (`raytt.probe.plan`): the layout of samples in a layer's input does not
  depend on the type, but a check in bfloat16 could not tell a wrong rule from rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from raytt.errors import InputError
from raytt.probe.jacobian import Rows
from raytt.probe.layers.use import widen
from raytt.settings.estimator import Precision
from raytt.task.task import Inputs
from raytt.training.model import PreparedModel


def in_precision(network: PreparedModel, precision: Precision, device: str | torch.device) -> PreparedModel:
    """The same network, whose ``forward`` runs in that precision; float32 leaves it as it is.

    Raises:
        InputError: From ``forward``, if the network cannot be run in that precision.
    """
    if precision == "float32":
        return network
    kind = torch.device(device).type

    def forward(module: nn.Module, inputs: Inputs) -> Tensor:
        try:
            # Without the cache each use of a weight casts it anew: gradients of several uses then add up in the
            # float32 weight, not in one bfloat16 copy that they share.
            with torch.autocast(kind, dtype=torch.bfloat16, cache_enabled=False):
                outputs = network.forward(module, inputs)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise InputError(
                f"The network, which runs in float32, does not run under torch.autocast to bfloat16 ({error}).",
                "Use --precision float32, or let the forward pass cope with mixed types.",
            ) from error
        return widen(outputs)

    return replace(network, forward=forward)


@contextmanager
def plain_convolutions(device: str | torch.device) -> Iterator[None]:
    """Let float32 mean float32 on CUDA devices, and equal inputs equal bits; nothing changes on others.

    cuDNN may else use TensorFloat-32 in convolutions, whose relative rounding of 2⁻¹¹ would fail the checks of
    `raytt.probe.plan` and send parameters on the slow route, and sums in varying order.
    """
    if torch.device(device).type != "cuda":
        yield
        return
    cudnn = torch.backends.cudnn
    before = cudnn.allow_tf32, cudnn.deterministic
    cudnn.allow_tf32, cudnn.deterministic = False, True
    try:
        yield
    finally:
        cudnn.allow_tf32, cudnn.deterministic = before


def rounding_note(exact: Rows, rough: Rows) -> str:
    """What lower precision changed on some samples, for the user."""
    outputs, rows = (
        float((b - a).norm() / a.norm().clamp_min(torch.finfo(a.dtype).tiny))
        for a, b in ((exact.outputs, rough.outputs), (exact.rows, rough.rows))
    )
    count = len(exact.outputs)
    return (
        f"The probe ran the network in bfloat16: on {count} sample{'s' if count > 1 else ''} outputs are off by "
        f"{outputs:.2%} and Jacobian rows by {rows:.2%} (norm of the difference to float32)."
    )
