"""Minibatch gradients in training mode: against autograd by hand, repeatable, and without trace."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from raytt.rates.fresh_batches import drawn_positions
from raytt.rates.gradients import MinibatchGradients
from raytt.rates.randomness import seeded
from raytt.task.task import Task

from .problems import CLASSES, NUM_SAMPLES, Jittered, noisy_network, noisy_task


def _by_hand(point: int, batch_size: int, number: int) -> Tensor:
    network = noisy_network().train()
    data = Jittered()
    rows = drawn_positions(NUM_SAMPLES, batch_size, 7, point, batch_size, number)
    with seeded("gradients", 7, point, batch_size, number):
        items = [data[int(i)] for i in rows]
        outputs = network(torch.stack([x for x, _ in items]))
    loss = nn.functional.cross_entropy(outputs, torch.stack([y for _, y in items]))
    parts = torch.autograd.grad(loss, list(network.parameters()))
    return torch.cat([part.reshape(-1) for part in parts])


def test_gradients_are_those_of_autograd_in_training_mode() -> None:
    source = MinibatchGradients(noisy_task(), seed=7)
    for number in (0, 3):
        found, _ = source.gradient(2, 16, number)
        torch.testing.assert_close(found, _by_hand(2, 16, number))


def test_accumulated_gradients_are_means_over_minibatches_passed_on_their_own() -> None:
    source, network, data = MinibatchGradients(noisy_task(), seed=7), noisy_network().train(), Jittered()
    rows = drawn_positions(NUM_SAMPLES, 24, 7, 2, 8, 5, 3).reshape(3, 8)
    losses = []
    with seeded("gradients", 7, 2, 8, 5, 3):
        for part in rows:
            items = [data[int(i)] for i in part]
            outputs = network(torch.stack([x for x, _ in items]))
            losses.append(nn.functional.cross_entropy(outputs, torch.stack([y for _, y in items])))
    mean = torch.stack(losses).mean()
    expected = torch.autograd.grad(mean, list(network.parameters()))
    found, loss = source.gradient(2, (8, 3), 5)
    torch.testing.assert_close(found, torch.cat([part.reshape(-1) for part in expected]))
    assert loss == pytest.approx(float(mean.detach()), rel=1e-6)
    assert source.loss(2, (8, 3), 5) == pytest.approx(loss, rel=1e-6)


class CountedOnes:
    """The mean loss of the samples of class 1."""

    def __call__(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        (loss,) = self.parts(model, [batch])
        return loss

    def parts(self, model: nn.Module, batches: Sequence[tuple[Tensor, Tensor]]) -> Iterator[Tensor]:
        counted = sum(int((targets == 1).sum()) for _, targets in batches)
        for inputs, targets in batches:
            labels = targets.masked_fill(targets != 1, -100)
            yield nn.functional.cross_entropy(model(inputs), labels, reduction="sum") / counted


def test_a_loss_may_say_what_each_minibatch_adds_to_that_of_a_step() -> None:
    source = MinibatchGradients(replace(noisy_task(), batch_loss=CountedOnes()), seed=7)
    network, data = noisy_network().train(), Jittered()
    rows = drawn_positions(NUM_SAMPLES, 24, 7, 2, 8, 5, 3).reshape(3, 8)
    with seeded("gradients", 7, 2, 8, 5, 3):
        # All are read before the first is passed.
        read = [[data[int(i)] for i in part] for part in rows]
        outputs = torch.cat([network(torch.stack([x for x, _ in items])) for items in read])
    labels = torch.stack([y for items in read for _, y in items])
    mean = nn.functional.cross_entropy(outputs[labels == 1], labels[labels == 1])
    expected = torch.autograd.grad(mean, list(network.parameters()))
    found, loss = source.gradient(2, (8, 3), 5)
    torch.testing.assert_close(found, torch.cat([part.reshape(-1) for part in expected]))
    assert loss == pytest.approx(float(mean.detach()), rel=1e-6)
    assert source.loss(2, (8, 3), 5) == pytest.approx(loss, rel=1e-6)


def test_sample_weights_are_those_of_the_minibatches_drawn() -> None:
    """Only one class has a weight: the mean gradient is that of its samples, whichever are drawn."""
    weights = [float(i % CLASSES == 1) for i in range(NUM_SAMPLES)]
    task = replace(noisy_task(), mode="train", sample_weights=weights)
    source = MinibatchGradients(task, seed=7)
    drawn = np.concatenate([source._data.draw(16, 7, 0, 16, number) for number in range(20)])
    assert {int(i) % CLASSES for i in drawn} == {1}
    assert len(set(drawn.tolist())) == NUM_SAMPLES // CLASSES


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_gradients_in_lower_precision_are_near_the_exact_ones(precision: Any) -> None:
    exact, _ = MinibatchGradients(noisy_task(), seed=7).gradient(2, 16, 0)
    found, _ = MinibatchGradients(replace(noisy_task(), mode="train", precision=precision), seed=7).gradient(2, 16, 0)
    assert not torch.equal(found, exact)
    assert float((found - exact).norm() / exact.norm()) < {"bfloat16": 0.03, "float16": 0.004}[precision]


def test_a_loss_too_large_for_half_precision_is_scaled_less() -> None:
    def steep(outputs: Tensor, targets: Tensor) -> Tensor:
        return 100.0 * nn.functional.cross_entropy(outputs, targets, reduction="none")

    exact, _ = MinibatchGradients(replace(noisy_task(), loss=steep), seed=7).gradient(2, 16, 0)
    half = replace(noisy_task(), loss=steep, mode="train", precision="float16")
    found, _ = MinibatchGradients(half, seed=7).gradient(2, 16, 0)
    assert float((found - exact).norm() / exact.norm()) < 0.004


def test_bits_do_not_depend_on_what_was_computed_before() -> None:
    one, another = MinibatchGradients(noisy_task(), seed=7), MinibatchGradients(noisy_task(), seed=7)
    in_order = [one.gradient(1, 8, b)[0] for b in range(4)]
    backwards = [another.gradient(1, 8, b)[0] for b in reversed(range(4))][::-1]
    assert all(torch.equal(a, b) for a, b in zip(in_order, backwards, strict=True))
    assert not torch.equal(in_order[0], in_order[1])


def test_running_statistics_and_weights_stay_as_they_were() -> None:
    source = MinibatchGradients(noisy_task(), seed=7)
    before = copy.deepcopy(source.model.module.state_dict())
    source.gradient(0, 8, 0)
    source.loss(0, 8, 1)
    after = source.model.module.state_dict()
    assert "1.running_mean" in before
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_loss_alone_is_that_of_the_gradient() -> None:
    source = MinibatchGradients(noisy_task(), seed=7)
    assert source.loss(1, 8, 5) == source.gradient(1, 8, 5)[1]


def test_blocks_are_sums_over_their_minibatches() -> None:
    source = MinibatchGradients(noisy_task(), seed=7)
    rows = torch.stack([source.gradient(0, 8, b)[0] for b in range(2, 6)])
    block = source.block(0, 8, range(2, 6))
    torch.testing.assert_close(block.total, rows.sum(dim=0))
    torch.testing.assert_close(block.squares, rows.square().sum(dim=0))
    assert block.count == 4


def test_weights_can_be_set_and_states_loaded() -> None:
    source = MinibatchGradients(noisy_task(), seed=7)
    state = copy.deepcopy(source.model.module.state_dict())
    start = source.weights()
    source.set_weights(start + 1.0)
    assert torch.equal(source.weights(), start + 1.0)
    source.load(state)
    assert torch.equal(source.weights(), start)


def test_a_parameter_that_meets_no_gradient_counts_as_zero() -> None:
    def build() -> nn.Module:
        network = noisy_network()
        network.register_parameter("spare", nn.Parameter(torch.ones(3)))
        return network

    task = noisy_task()
    source = MinibatchGradients(type(task)(name="spare", model=build, data=task.data), seed=7)
    gradient, _ = source.gradient(0, 8, 0)
    assert source.num_trainable == len(gradient)
    assert int((gradient[:3] == 0).sum()) == 3


def test_weights_that_the_forward_pass_caps_are_put_back() -> None:
    class Capped(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            norms = self.weight.data.norm(dim=1, keepdim=True)
            self.weight.data = self.weight.data * (0.3 / norms).clamp(max=1.0)
            return super().forward(x)

    def build() -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return Capped(8, CLASSES)

    source = MinibatchGradients(Task(name="capped", model=build, data=lambda: Jittered(), mode="train"), seed=7)
    source.load(build().state_dict())
    start = source.weights()
    first, _ = source.gradient(0, 8, 0)
    assert torch.equal(source.weights(), start)
    source.gradient(0, 8, 1)
    assert torch.equal(source.gradient(0, 8, 0)[0], first)
    source.set_weights(start + 1.0)
    source.gradient(0, 8, 0)
    assert torch.equal(source.weights(), start + 1.0)
