"""Optimizer steps against a loop written by hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from raytt.task.candidate import Candidate
from raytt.task.task import Task
from raytt.training.model import PreparedModel, prepare_for_training
from raytt.training.objective import Objective
from raytt.training.steps import Steps


def network() -> nn.Module:
    """With batch norm, whose statistics tell which samples were passed together."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(6, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(48, 6, generator=generator), torch.arange(48) % 3


def make_task(**settings: Any) -> Task:
    return Task(name="steps", model=network, data=data, mode="train", **settings)


RATES = (0.1, 0.2, 0.05, 0.1)


def take(task: Task, candidate: Candidate) -> tuple[Steps, PreparedModel, list[float]]:
    """Steps on the data in order, from its beginning again each time it ends."""
    model, (inputs, targets) = prepare_for_training(task), data()
    steps = Steps(model, Objective(task), candidate, ema_decay=task.ema_decay)
    losses = []
    for number, rate in enumerate(RATES):
        rows = np.arange(candidate.samples_per_step) + candidate.samples_per_step * number
        losses.append(steps.take(rate, lambda rows: (inputs[rows], targets[rows]), rows % 48))
    return steps, model, losses


def assert_same(found: nn.Module, expected: nn.Module) -> None:
    for key, tensor in expected.state_dict().items():
        torch.testing.assert_close(found.state_dict()[key], tensor, rtol=1e-5, atol=1e-7)


def test_clipped_steps_are_those_of_a_loop_by_hand() -> None:
    _, model, losses = take(make_task(), Candidate(lr=0.1, momentum=0.9, batch_size=16, max_grad_norm=0.3))
    net, (inputs, targets) = network().train(), data()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    for number, rate in enumerate(RATES):
        rows = (torch.arange(16) + 16 * number) % 48
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(inputs[rows]), targets[rows])
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 0.3)
        optimizer.step()
        assert losses[number] == pytest.approx(float(loss.detach()), rel=1e-6)
    assert_same(model.module, net)


def test_accumulated_steps_are_those_of_a_loop_by_hand() -> None:
    """Batch norm sees each minibatch on its own; gradients of the mean of the losses add up and are clipped once."""
    candidate = Candidate(optimizer="adamw", lr=0.1, batch_size=8, accumulation_steps=3, max_grad_norm=0.3)
    _, model, losses = take(make_task(), candidate)
    net, (inputs, targets) = network().train(), data()
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1, weight_decay=0.0)
    for number, rate in enumerate(RATES):
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        total = 0.0
        for part in range(3):
            rows = (torch.arange(8) + 8 * (3 * number + part)) % 48
            loss = nn.functional.cross_entropy(net(inputs[rows]), targets[rows]) / 3
            loss.backward()
            total += float(loss.detach())
        nn.utils.clip_grad_norm_(net.parameters(), 0.3)
        optimizer.step()
        assert losses[number] == pytest.approx(total, rel=1e-6)
    assert_same(model.module, net)
    assert int(model.module.state_dict()["1.num_batches_tracked"]) == 3 * len(RATES)


class MeanOverTokens:
    """Of class labels those above 0 count."""

    def __call__(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        (loss,) = self.parts(model, [batch])
        return loss

    def parts(self, model: nn.Module, batches: Sequence[tuple[Tensor, Tensor]]) -> Iterator[Tensor]:
        counted = sum(int((targets > 0).sum()) for _, targets in batches)
        for inputs, targets in batches:
            labels = targets.masked_fill(targets == 0, -100)
            yield nn.functional.cross_entropy(model(inputs), labels, reduction="sum") / counted


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_loss_may_say_what_each_minibatch_adds_to_that_of_a_step(precision: str) -> None:
    task = make_task(precision=precision, batch_loss=MeanOverTokens())
    model, (inputs, targets) = prepare_for_training(task), data()
    # Two, four and none of the minibatches' labels count.
    targets[0], targets[4:8], targets[8:12] = 0, 1, 0
    steps = Steps(model, Objective(task), Candidate(lr=0.1, batch_size=4, accumulation_steps=3))
    found = steps.take(0.1, lambda rows: (inputs[rows], targets[rows]), np.arange(12))
    net, total = network().train(), 0.0
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for first in (0, 4, 8):
        labels = targets[first : first + 4].masked_fill(targets[first : first + 4] == 0, -100)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bfloat16"):
            outputs = net(inputs[first : first + 4])
            loss = nn.functional.cross_entropy(outputs, labels, reduction="sum") / int((targets[:12] > 0).sum())
        loss.backward()
        total += float(loss.detach())
    optimizer.step()
    assert found == pytest.approx(total, rel=1e-6)
    assert_same(model.module, net)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_steps_in_lower_precision_are_those_of_a_loop_by_hand(precision: str) -> None:
    candidate = Candidate(lr=0.1, momentum=0.9, batch_size=16, max_grad_norm=0.3)
    _, model, losses = take(make_task(precision=precision), candidate)
    net, (inputs, targets) = network().train(), data()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    scaler = torch.amp.GradScaler("cpu", enabled=precision == "float16")
    for number, rate in enumerate(RATES):
        rows = (torch.arange(16) + 16 * number) % 48
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=getattr(torch, precision)):
            loss = nn.functional.cross_entropy(net(inputs[rows]).float(), targets[rows])
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(net.parameters(), 0.3)
        scaler.step(optimizer)
        scaler.update()
        assert losses[number] == pytest.approx(float(loss.detach()), rel=1e-6)
    assert_same(model.module, net)
    assert {p.dtype for p in model.module.parameters()} == {torch.float32}
    full = take(make_task(), candidate)[2]
    assert losses != full
    np.testing.assert_allclose(losses, full, rtol=0.05)


def test_a_step_with_an_infinite_scaled_gradient_is_passed_over() -> None:
    """A loss of a million times 65,536 is beyond what half precision holds; the scaler halves its factor."""

    def huge(outputs: Tensor, targets: Tensor) -> Tensor:
        return 1e6 * nn.functional.cross_entropy(outputs, targets, reduction="none")

    _, model, _ = take(make_task(precision="float16", loss=huge), Candidate(lr=0.1, batch_size=16))
    assert all(torch.equal(a, b) for a, b in zip(model.module.parameters(), network().parameters(), strict=True))


def test_the_moving_average_is_that_of_torch() -> None:
    steps, model, _ = take(make_task(ema_decay=0.7), Candidate(lr=0.1, batch_size=16))
    net, (inputs, targets) = network().train(), data()
    averaged = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.7), use_buffers=True)  # type: ignore[no-untyped-call]
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for number, rate in enumerate(RATES):
        rows = (torch.arange(16) + 16 * number) % 48
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(inputs[rows]), targets[rows]).backward()
        optimizer.step()
        averaged.update_parameters(net)
    found = steps.averaged()
    assert found is not None
    assert_same(found.module, averaged.module)
    assert_same(model.module, net)
    assert all(found.trainable[name] is p for name, p in found.module.named_parameters())
    assert not torch.equal(found.trainable["0.weight"], model.trainable["0.weight"])


def test_there_is_no_average_where_none_is_asked_for() -> None:
    assert take(make_task(), Candidate(lr=0.1, batch_size=16))[0].averaged() is None
