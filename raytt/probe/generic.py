"""The generic route: gradients of one sample at a time by autograd, for any network and any parameter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from raytt.task.task import Inputs
from raytt.training.model import PreparedModel


def take(inputs: Inputs, sample: int) -> Inputs:
    """One sample of a batch, still with a batch axis, so that padding to a common length stays."""
    if isinstance(inputs, Mapping):
        return {k: v[sample : sample + 1] for k, v in inputs.items()}
    return inputs[sample : sample + 1]


def single_outputs(network: PreparedModel, inputs: Inputs, sample: int) -> Tensor:
    """Outputs of one sample alone, shape ``(C,)``, with their graph."""
    with torch.enable_grad():
        outputs = network.forward(network.module, take(inputs, sample))
    return outputs.reshape(-1)


def gradient(output: Tensor, network: PreparedModel, names: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
    """∂output/∂w of a scalar, flattened per parameter; parameters that it does not depend on are left out."""
    if not output.requires_grad:
        return
    parameters = [network.trainable[name] for name in names]
    grads = torch.autograd.grad(output, parameters, retain_graph=True, allow_unused=True)
    for name, grad in zip(names, grads, strict=True):
        if grad is not None:
            yield name, (grad.to_dense() if grad.is_sparse else grad).reshape(-1)
