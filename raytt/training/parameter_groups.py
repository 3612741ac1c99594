"""Which trainable parameter belongs to which group, and the optimizer of torch that follows."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from raytt.errors import InputError
from raytt.task.candidate import Candidate
from raytt.task.parameter_groups import ParameterGroup
from raytt.task.task import Task

LR_SCALE = "lr_scale"
"""Key of torch's parameter groups under which the factor of the learning rate is kept."""


@dataclass(frozen=True, kw_only=True)
class TrainedGroup:
    """Trainable parameters with one learning rate and one weight decay."""

    names: tuple[str, ...]
    """In the order of the network's parameters."""
    lr_scale: float = 1.0
    """What the learning rate is multiplied with."""
    weight_decay: float | None = None
    """λ; None: the candidate's."""


def trained_groups(
    task: Task, trainable: Mapping[str, nn.Parameter], aliases: Mapping[str, Sequence[str]]
) -> tuple[tuple[TrainedGroup, ...], list[str]]:
    """The groups of a task's trainable parameters, in the order of their first parameters; and notes for the user.

    Without groups, and where all have the same, there is one. A parameter without a group of its own that is a bias or
    has fewer than two dimensions (a scale of a norm) has no weight decay if `Task.decay_norms_and_biases` is False.

    Args:
        task: Its groups.
        trainable: Trainable parameters by name.
        aliases: All names of every parameter of the network (of tied weights several), by its first.

    Raises:
        InputError: If a pattern matches no parameter, or a parameter belongs to two groups.
    """
    every = [name for names in aliases.values() for name in names]
    notes = []
    for group in task.parameter_groups:
        for pattern in group.patterns:
            if not any(fnmatchcase(name, pattern) for name in every):
                near = difflib.get_close_matches(pattern, every, n=3, cutoff=0.3) or every[:3]
                raise InputError(
                    f"The pattern {pattern!r} in Task.parameter_groups matches no parameter.",
                    f"Parameter names look like: {', '.join(near)}.",
                )
        if not any(_belongs(aliases[name], group) for name in trainable):
            shown = ", ".join(repr(pattern) for pattern in group.patterns)
            notes.append(f"The parameter group {shown} matches only parameters that do not train.")
    members: dict[tuple[float, float | None], list[str]] = {}
    for name, parameter in trainable.items():
        members.setdefault(_treatment(task, name, parameter, aliases[name]), []).append(name)
    found = tuple(
        TrainedGroup(names=tuple(names), lr_scale=scale, weight_decay=decay)
        for (scale, decay), names in members.items()
    )
    return found, notes


def _treatment(task: Task, name: str, parameter: nn.Parameter, aliases: Sequence[str]) -> tuple[float, float | None]:
    """Factor of the learning rate, and weight decay."""
    groups = [group for group in task.parameter_groups if _belongs(aliases, group)]
    if len(groups) > 1:
        shown = " and ".join(repr(list(group.patterns)) for group in groups)
        raise InputError(
            f"Parameter {name} belongs to {len(groups)} groups of Task.parameter_groups: {shown}.",
            "Make the patterns narrower, so that every parameter is in one group at most.",
        )
    scale, decay = (float(groups[0].lr_scale), groups[0].weight_decay) if groups else (1.0, None)
    if decay is None and not task.decay_norms_and_biases and (parameter.ndim < 2 or name.endswith("bias")):
        decay = 0.0
    return scale, decay


def _belongs(names: Sequence[str], group: ParameterGroup) -> bool:
    return any(fnmatchcase(name, pattern) for name in names for pattern in group.patterns)


def make_optimizer(
    trainable: Mapping[str, nn.Parameter], groups: Sequence[TrainedGroup], candidate: Candidate
) -> torch.optim.Optimizer:
    """The optimizer of torch for a candidate, with a parameter group of torch for each group.

    Args:
        trainable: Trainable parameters by name.
        groups: Each parameter is in one.
        candidate: Optimizer and peak learning rate.
    """
    parts: list[dict[str, Any]] = []
    for group in groups:
        own = {} if group.weight_decay is None else {"weight_decay": group.weight_decay}
        parts.append({"params": [trainable[name] for name in group.names], LR_SCALE: group.lr_scale, **own})
    return candidate.optimizer.torch(parts, candidate.lr)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every parameter group its own multiple of the learning rate η of a step."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group[LR_SCALE]


def per_weight(
    trainable: Mapping[str, nn.Parameter], groups: Sequence[TrainedGroup], values: Sequence[float]
) -> Tensor | None:
    """A number of each group spread over its weights, flattened in the order of the network's parameters.

    Args:
        trainable: Trainable parameters by name.
        groups: Each parameter is in one.
        values: Of each group.

    Returns:
        Shape ``(D,)``; None where all are 1.
    """
    if all(value == 1.0 for value in values):
        return None
    own = {name: value for group, value in zip(groups, values, strict=True) for name in group.names}
    return torch.cat([torch.full((parameter.numel(),), own[name]) for name, parameter in trainable.items()])
