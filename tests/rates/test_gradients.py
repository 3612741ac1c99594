"""Minibatch gradients in training mode: against autograd by hand, repeatable, and without trace."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from raytt.rates.fresh_batches import drawn_positions
from raytt.rates.gradients import MinibatchGradients
from raytt.rates.randomness import seeded

from .problems import NUM_SAMPLES, Jittered, noisy_network, noisy_task


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


def test_bits_do_not_depend_on_what_was_computed_before() -> None:
    one, another = MinibatchGradients(noisy_task(), seed=7), MinibatchGradients(noisy_task(), seed=7)
    in_order = [one.gradient(1, 8, b)[0] for b in range(4)]
    backwards = [another.gradient(1, 8, b)[0] for b in reversed(range(4))][::-1]
    assert all(torch.equal(a, b) for a, b in zip(in_order, backwards, strict=True))
    assert not torch.equal(in_order[0], in_order[1])


def test_running_statistics_and_weights_stay_as_they_were() -> None:
    source = MinibatchGradients(noisy_task(), seed=7)
    before = copy.deepcopy(source._model.module.state_dict())
    source.gradient(0, 8, 0)
    source.loss(0, 8, 1)
    after = source._model.module.state_dict()
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
    state = copy.deepcopy(source._model.module.state_dict())
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
