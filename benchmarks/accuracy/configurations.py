"""The configurations of the record: from too slow to divergent, over what users vary with SGD."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from raytt.candidates import Candidate

from .tasks import RecordTask


@dataclass(frozen=True, kw_only=True)
class Run:
    """One real training run of the record."""

    candidate: Candidate
    seed: int


# (optimizer fields, learning rate relative to the task's scale, seeds). Those with two seeds give the real spread.
_SGD: list[tuple[dict[str, Any], float, int]] = [
    ({}, 0.3, 1),
    ({}, 1.0, 3),
    ({}, 2.0, 1),
    ({}, 5.0, 1),
    ({}, 30.0, 1),
    ({"batch_size": 8}, 0.3, 2),
    ({"batch_size": 8}, 1.0, 2),
    ({"batch_size": 16}, 1.0, 1),
    ({"batch_size": 64}, 2.0, 1),
    ({"momentum": 0.9}, 0.1, 2),
    ({"momentum": 0.9}, 0.3, 1),
    ({"momentum": 0.9}, 3.0, 1),
    ({"momentum": 0.9, "nesterov": True}, 0.1, 1),
    ({"momentum": 0.9, "nesterov": True, "batch_size": 16}, 0.2, 1),
    ({"schedule": "cosine"}, 1.0, 2),
    ({"schedule": "cosine", "momentum": 0.9, "batch_size": 16}, 0.1, 1),
    ({"schedule": "linear", "warmup_steps": 20}, 2.0, 1),
    ({"weight_decay": 0.01}, 1.0, 1),
    ({"weight_decay": 0.1, "momentum": 0.9}, 0.1, 1),
]


def runs(record_task: RecordTask) -> list[Run]:
    """All runs of a task, in an order in which every prefix is varied: first seeds first."""
    listed: list[tuple[int, Run]] = []
    for fields, relative, seeds in _SGD:
        # Slow configurations are given more steps, so that what is censored is what would never get there.
        effective = relative / (1.0 - fields.get("momentum", 0.0))
        steps = round(record_task.max_steps * min(2.0, max(1.0, 1.0 / effective)))
        candidate = Candidate(lr=record_task.sgd_lr * relative, max_steps=steps, **fields)
        listed += [(seed, Run(candidate=candidate, seed=seed)) for seed in range(seeds)]
    return [run for _, run in sorted(listed, key=lambda pair: pair[0])]
