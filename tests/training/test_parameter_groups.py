"""Parameter groups against torch's own, built by hand."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from raytt.errors import InputError
from raytt.task.candidate import Candidate
from raytt.task.parameter_groups import ParameterGroup
from raytt.task.task import Task
from raytt.training.model import prepare_for_training, prepare_model
from raytt.training.objective import Objective
from raytt.training.parameter_groups import per_weight
from raytt.training.steps import Steps


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return nn.Sequential(
            OrderedDict(stem=nn.Linear(6, 8), norm=nn.LayerNorm(8), act=nn.Tanh(), head=nn.Linear(8, 3))
        )


def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    return torch.randn(24, 6, generator=generator), torch.arange(24) % 3


def make_task(groups: Sequence[ParameterGroup] = (), **settings: Any) -> Task:
    chosen: Any = {"mode": "train", **settings}
    return Task(name="groups", model=network, data=data, parameter_groups=groups, **chosen)


def by_hand(optimizer: torch.optim.Optimizer, net: nn.Module, rates: Sequence[float], scales: Sequence[float]) -> None:
    inputs, targets = data()
    for step, rate in enumerate(rates):
        for group, scale in zip(optimizer.param_groups, scales, strict=True):
            group["lr"] = rate * scale
        rows = torch.arange(8) + 8 * (step % 3)
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(inputs[rows]), targets[rows]).backward()
        optimizer.step()


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_steps_are_those_of_groups_built_by_hand(name: str) -> None:
    task = make_task(
        [
            ParameterGroup(patterns=["head.*"], lr_scale=10.0, weight_decay=0.2),
            ParameterGroup(patterns=["stem.weight"], lr_scale=0.1),
        ],
        decay_norms_and_biases=False,
    )
    candidate = Candidate(optimizer=name, lr=0.01, weight_decay=0.05, batch_size=8)
    model = prepare_for_training(task)
    steps = Steps(model, Objective(task), candidate)
    inputs, targets = data()
    rates = [0.01, 0.02, 0.005, 0.01, 0.01]
    for number, rate in enumerate(rates):
        rows = (torch.arange(8) + 8 * (number % 3)).numpy()
        steps.take(rate, lambda rows: (inputs[rows], targets[rows]), rows)
    net = network().train()
    named = dict(net.named_parameters())
    kind = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}[name]
    parts = [
        {"params": [named["stem.weight"]], "weight_decay": 0.05},
        {"params": [named[n] for n in ("stem.bias", "norm.weight", "norm.bias")], "weight_decay": 0.0},
        {"params": [named["head.weight"], named["head.bias"]], "weight_decay": 0.2},
    ]
    by_hand(kind(parts, lr=0.01), net, rates, [0.1, 1.0, 10.0])
    for key, parameter in net.named_parameters():
        torch.testing.assert_close(model.trainable[key], parameter, rtol=1e-5, atol=1e-8)


def test_without_groups_there_is_one() -> None:
    model = prepare_for_training(make_task())
    assert [(g.lr_scale, g.weight_decay, len(g.names)) for g in model.groups] == [(1.0, None, 6)]
    assert per_weight(model.trainable, model.groups, [1.0]) is None


def test_numbers_of_groups_are_spread_over_weights() -> None:
    model = prepare_for_training(make_task([ParameterGroup(patterns=["*.bias"], lr_scale=2.0)]))
    found = per_weight(model.trainable, model.groups, [g.lr_scale for g in model.groups])
    expected = [torch.full((p.numel(),), 2.0 if n.endswith("bias") else 1.0) for n, p in network().named_parameters()]
    assert found is not None
    assert torch.equal(found, torch.cat(expected))


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([ParameterGroup(patterns=["haed.*"])], r"'haed\.\*' in Task\.parameter_groups matches no.*head\.weight"),
        (
            [ParameterGroup(patterns=["head.*"]), ParameterGroup(patterns=["*.bias"], lr_scale=2.0)],
            r"Parameter head\.bias belongs to 2 groups.*'head\.\*'.*'\*\.bias'",
        ),
    ],
)
def test_groups_that_fit_no_parameter_or_two_of_them_are_refused(groups: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        prepare_for_training(make_task(groups))


def test_a_group_of_frozen_parameters_is_said() -> None:
    task = make_task([ParameterGroup(patterns=["stem.*"], lr_scale=0.1)], trainable=["head.*"])
    notes = prepare_for_training(task).notes
    assert any("'stem.*' matches only parameters that do not train" in note for note in notes)


@pytest.mark.parametrize(
    "settings",
    [
        {"groups": [ParameterGroup(patterns=["head.*"], lr_scale=2.0)]},
        {"decay_norms_and_biases": False},
        {"precision": "float16"},
        {"ema_decay": 0.9},
        {"sample_weights": [1.0] * 24},
        {"mix": lambda inputs, targets: (inputs, targets)},
        {"last_batch": "drop"},
    ],
)
def test_eval_mode_has_nothing_of_training_mode(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"with mode='eval'.*Use mode='train'"):
        prepare_model(make_task(mode="eval", **settings))
