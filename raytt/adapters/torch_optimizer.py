"""An optimizer of ``torch.optim`` that a library built, as hyperparameters of a candidate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn, optim

from raytt.errors import InputError
from raytt.task.optimizers._torch_lion import TorchLion
from raytt.task.parameter_groups import ParameterGroup

_KINDS: dict[type[optim.Optimizer], tuple[str, tuple[str, ...]]] = {
    optim.SGD: ("sgd", ("momentum", "nesterov")),
    optim.AdamW: ("adamw", ("betas", "eps")),
    optim.Adam: ("adam", ("betas", "eps")),
    optim.RMSprop: ("rmsprop", ("alpha", "momentum", "eps")),
    TorchLion: ("lion", ("betas",)),
    optim.Adafactor: ("adafactor", ("beta2_decay", "eps", "d")),
}
"""Name in raytt, and the hyperparameters beside learning rate and weight decay."""
_VARIANTS = ("amsgrad", "maximize", "dampening", "centered", "decoupled_weight_decay")
"""Settings of torch's that change the update and that raytt does not know; all are off by default. (torch builds AdamW
as Adam with the last.)"""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Parameters with one learning rate and one weight decay."""

    names: tuple[str, ...]
    """In the network."""
    lr_scale: float
    """Learning rate over that of the candidate."""
    weight_decay: float | None
    """λ; None: that of the candidate."""


@dataclass(frozen=True, kw_only=True)
class ReadOptimizer:
    """What an optimizer means."""

    settings: dict[str, Any]
    """Of a candidate: ``optimizer``, ``lr``, ``weight_decay`` and the optimizer's own, those of the group that decays
    most, the largest of several."""
    groups: tuple[Group, ...]
    """The others, where they differ from it."""
    trained: tuple[str, ...]
    """Names of all parameters that it trains."""


def read_optimizer(optimizer: optim.Optimizer, module: nn.Module) -> ReadOptimizer:
    """Hyperparameters and groups of an optimizer on a network.

    The learning rate of a group is the one from which schedules start (``initial_lr`` where a schedule is attached).

    Raises:
        InputError: If the optimizer is none that raytt knows, or its groups differ in more than learning rate and
            weight decay.
    """
    kind = type(optimizer)
    if kind not in _KINDS:
        raise InputError(
            f"The optimizer is {kind.__module__}.{kind.__name__}.",
            f"Use one of torch.optim: {', '.join(k.__name__ for k in _KINDS if k is not TorchLion)}.",
        )
    name, own = _KINDS[kind]
    groups = [group for group in optimizer.param_groups if group["params"]]
    if not groups:
        raise InputError(f"The optimizer {kind.__name__} trains no parameter.", "Check what the network froze.")
    _refuse_variants(kind, groups)
    for setting in own:
        values = [group[setting] for group in groups]
        if any(value != values[0] for value in values):
            raise InputError(
                f"The parameter groups of {kind.__name__} differ in {setting}: {values}.",
                "Let groups differ in learning rate and weight decay alone.",
            )
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    largest = max(groups, key=lambda group: (group["weight_decay"], sum(p.numel() for p in group["params"])))
    lr, decay = _rate(largest), float(largest["weight_decay"])
    found: dict[tuple[float, float], list[str]] = {}
    for group in groups:
        members = [_name(names, parameter) for parameter in group["params"] if parameter.requires_grad]
        found.setdefault((_rate(group) / lr, float(group["weight_decay"])), []).extend(members)
    return ReadOptimizer(
        settings={
            "optimizer": name,
            "lr": lr,
            "weight_decay": decay,
            **{setting: largest[setting] for setting in own},
        },
        groups=tuple(
            Group(names=tuple(members), lr_scale=scale, weight_decay=None if own_decay == decay else own_decay)
            for (scale, own_decay), members in found.items()
            if members and (scale, own_decay) != (1.0, decay)
        ),
        trained=tuple(name for members in found.values() for name in members),
    )


def task_settings(read: ReadOptimizer, module: nn.Module) -> dict[str, Any]:
    """Fields of a `Task` for the parameters that an optimizer trains, and its groups."""
    trainable = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
    left_out = trainable - set(read.trained)
    fields: dict[str, Any] = {}
    if left_out:
        fields["trainable"] = tuple(f"!{pattern_of(name)}" for name in sorted(left_out))
    if read.groups:
        fields["parameter_groups"] = tuple(
            ParameterGroup(
                patterns=tuple(map(pattern_of, group.names)), lr_scale=group.lr_scale, weight_decay=group.weight_decay
            )
            for group in read.groups
        )
    return fields


def pattern_of(name: str) -> str:
    """The pattern that matches a parameter's name and no other."""
    return "".join(f"[{letter}]" if letter in "[*?" else letter for letter in name)


def _rate(group: Mapping[str, Any]) -> float:
    rate = group.get("initial_lr", group["lr"])
    return float(rate.item() if isinstance(rate, torch.Tensor) else rate)


def _name(names: Mapping[int, str], parameter: nn.Parameter) -> str:
    if id(parameter) not in names:
        raise InputError(
            f"The optimizer trains a parameter of shape {tuple(parameter.shape)} that is not in the network.",
            "Build the optimizer from the parameters of the network that is trained.",
        )
    return names[id(parameter)]


def _refuse_variants(kind: type[optim.Optimizer], groups: list[dict[str, Any]]) -> None:
    for group in groups:
        for variant in _VARIANTS:
            expected = kind is optim.AdamW if variant == "decoupled_weight_decay" else False
            if variant in group and bool(group[variant]) is not expected:
                raise InputError(
                    f"The optimizer {kind.__name__} has {variant}={group[variant]!r}, which raytt does not know.",
                    f"Leave {variant} at its default.",
                )
