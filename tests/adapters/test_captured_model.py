from __future__ import annotations

from functools import partial

import pytest
import torch
from ray import cloudpickle
from torch import nn

import raytt
from raytt.adapters.captured_model import CapturedModel
from raytt.training.model import weights_fingerprint


class Tied(nn.Module):
    """Two names for one weight, a frozen layer, buffers that are and are not in the state, bfloat16."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.outer = nn.Linear(4, 4, bias=False)
        self.outer.weight = self.inner.weight
        self.frozen = nn.Linear(4, 300).requires_grad_(False)
        self.brief = nn.Parameter(torch.randn(3).to(torch.bfloat16))
        self.norm = nn.BatchNorm1d(300)
        self.register_buffer("scale", torch.tensor(3.0), persistent=False)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.norm(self.frozen(self.outer(self.inner(inputs)))) * self.scale


def _zero(module: nn.Module, *, name: str) -> None:
    nn.init.zeros_(module.get_parameter(name))


def _again(factory: CapturedModel) -> CapturedModel:
    return cloudpickle.loads(cloudpickle.dumps(factory))  # type: ignore[no-any-return]


@pytest.mark.parametrize("travelled", [False, True])
def test_each_network_is_the_captured_one(travelled: bool) -> None:
    original = Tied()
    before = weights_fingerprint(original)
    factory = CapturedModel(original)
    nn.init.zeros_(original.inner.weight)
    factory = _again(factory) if travelled else factory
    first, second = factory(), factory()
    assert weights_fingerprint(first) == weights_fingerprint(second) == before
    assert isinstance(first, Tied)
    assert first.outer.weight is first.inner.weight
    assert float(first.scale) == 3.0
    assert first.brief.dtype == torch.bfloat16
    assert {n for n, p in first.named_parameters() if not p.requires_grad} == {"frozen.weight", "frozen.bias"}
    assert first.train()(torch.ones(2, 4)).shape == (2, 300)
    with torch.no_grad():
        first.inner.weight.add_(1.0)
    assert weights_fingerprint(second) == before
    assert int(second.norm.num_batches_tracked) == 0


@pytest.mark.parametrize("travelled", [False, True])
def test_only_weights_that_train_are_copied_for_each_network(travelled: bool) -> None:
    factory = CapturedModel(Tied())
    factory = _again(factory) if travelled else factory
    first, second = dict(factory().named_parameters()), dict(factory().named_parameters())
    shared = {name for name in first if first[name].data_ptr() == second[name].data_ptr()}
    assert shared == {"frozen.weight", "frozen.bias"}


def test_weights_travel_beside_the_pickle() -> None:
    """As buffers that Ray's object store keeps once, and whose memory is never written to."""
    buffers: list[object] = []
    data = cloudpickle.dumps(CapturedModel(nn.Linear(300, 300)), protocol=5, buffer_callback=buffers.append)
    assert len(data) < 10_000
    assert sum(memoryview(buffer).nbytes for buffer in buffers) == 4 * 300 * 301  # type: ignore[arg-type]
    read_only = [bytes(memoryview(buffer)) for buffer in buffers]  # type: ignore[arg-type]
    module = cloudpickle.loads(data, buffers=read_only)()
    nn.init.zeros_(module.weight)
    assert bool(cloudpickle.loads(data, buffers=read_only)().weight.any())


def test_networks_are_finished_as_asked() -> None:
    factory = _again(CapturedModel(nn.Linear(2, 2), finish=[partial(_zero, name="bias")]))
    assert factory().bias.tolist() == [0.0, 0.0]
    assert factory.travels_with[0] is nn.Linear


def test_gradients_stay_behind() -> None:
    module = nn.Linear(2, 2)
    module(torch.ones(1, 2)).sum().backward()
    assert CapturedModel(module)().weight.grad is None


def test_refuses_what_cannot_be_copied() -> None:
    module = nn.Linear(2, 2)
    module.activation = module(torch.ones(1, 2)) * 1.0  # type: ignore[assignment]
    with pytest.raises(raytt.InputError, match="Linear cannot be copied"):
        CapturedModel(module)
