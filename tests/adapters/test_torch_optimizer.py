from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn, optim

import raytt
from raytt.adapters.torch_optimizer import pattern_of, read_optimizer, task_settings
from raytt.task.optimizers import OPTIMIZERS


def _network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
        (optim.AdamW, {"lr": 0.1, "betas": (0.8, 0.95), "eps": 1e-6}),
        (optim.Adam, {"lr": 0.1}),
        (optim.RMSprop, {"lr": 0.1, "alpha": 0.9, "momentum": 0.5}),
        (optim.Adafactor, {"lr": 0.1, "eps": (None, 1e-2), "d": 2.0, "beta2_decay": -0.5}),
    ],
)
def test_what_is_read_builds_the_same_optimizer(kind: Any, settings: dict[str, Any]) -> None:
    module = _network()
    given = kind(module.parameters(), **settings)
    read = read_optimizer(given, module)
    candidate = raytt.Candidate(**read.settings)
    built = candidate.optimizer.torch(module.parameters(), candidate.lr)
    assert type(built) is kind
    ours, theirs = built.param_groups[0], given.param_groups[0]
    assert {k: v for k, v in ours.items() if k != "params"} == {k: v for k, v in theirs.items() if k != "params"}
    assert read.groups == ()
    assert task_settings(read, module) == {}


def test_every_optimizer_of_raytt_can_be_read() -> None:
    module = _network()
    for kind in OPTIMIZERS:
        built = kind().torch(module.parameters(), 0.1)
        assert read_optimizer(built, module).settings["optimizer"] == kind.name


def test_groups_and_schedules() -> None:
    module = _network()
    given = optim.AdamW(
        [
            {"params": [module[1].weight], "lr": 0.3},
            {"params": [module[0].weight, module[1].bias], "weight_decay": 0.1},
            {"params": [], "lr": 5.0},
        ],
        lr=0.1,
        weight_decay=0.0,
    )
    optim.lr_scheduler.LambdaLR(given, lambda step: 0.01)
    read = read_optimizer(given, module)
    assert (read.settings["lr"], read.settings["weight_decay"]) == (0.1, 0.1)
    assert [(group.names, round(group.lr_scale, 9), group.weight_decay) for group in read.groups] == [
        (("1.weight",), 3.0, 0.0)
    ]
    (group,) = task_settings(read, module)["parameter_groups"]
    assert (group.patterns, group.weight_decay) == (("1.weight",), 0.0)
    assert set(read.trained) == {"0.weight", "1.weight", "1.bias"}


def test_a_group_with_another_learning_rate_alone_keeps_the_weight_decay_of_candidates() -> None:
    module = _network()
    groups = [{"params": module[0].parameters(), "lr": 0.01}, {"params": module[1].parameters()}]
    read = read_optimizer(optim.AdamW(groups, lr=0.1, weight_decay=0.1), module)
    assert (read.settings["lr"], read.settings["weight_decay"]) == (0.01, 0.1)
    assert [(group.names, group.weight_decay) for group in read.groups] == [(("1.weight", "1.bias"), None)]


def test_parameters_that_it_leaves_out_do_not_train() -> None:
    module = _network()
    read = read_optimizer(optim.SGD(module[1].parameters(), lr=0.1), module)
    assert task_settings(read, module) == {"trainable": ("!0.bias", "!0.weight")}
    assert pattern_of("a[0].b") == "a[[]0].b"


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (lambda p: optim.Adagrad(p), "Adagrad"),
        (lambda p: optim.AdamW(p, amsgrad=True), "amsgrad"),
        (lambda p: optim.SGD(p, momentum=0.9, dampening=0.1), "dampening"),
        (lambda p: optim.Adam(p, decoupled_weight_decay=True), "decoupled_weight_decay"),
        (lambda p: optim.SGD([{"params": p[:1], "momentum": 0.5}, {"params": p[1:]}]), "differ in momentum"),
        (lambda p: optim.SGD([*p, nn.Parameter(torch.zeros(7))]), r"shape \(7,\) that is not in the network"),
    ],
)
def test_refuses(given: Any, named: str) -> None:
    module = _network()
    with pytest.raises(raytt.InputError, match=named):
        read_optimizer(given(list(module.parameters())), module)
