"""The configurations of the record: from too slow to divergent, over what users vary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from raytt.task.candidate import Candidate

from .tasks import RecordTask


@dataclass(frozen=True, kw_only=True)
class Run:
    """One real training run of the record."""

    candidate: Candidate
    seed: int


# (optimizer fields, learning rate relative to the task's scale for that optimizer, seeds). Those with two seeds give
# the real run-to-run spread. Sorted so that every prefix is varied.
_CONFIGURATIONS: list[tuple[dict[str, Any], float, int]] = [
    ({}, 1.0, 2),
    ({"optimizer": "adamw"}, 1.0, 2),
    ({"batch_size": 8}, 1.0, 2),
    ({"momentum": 0.9}, 0.1, 2),
    ({"optimizer": "adamw", "batch_size": 8}, 1.0, 2),
    ({}, 0.3, 1),
    ({"momentum": 0.9}, 0.3, 1),
    ({"optimizer": "adamw"}, 0.3, 1),
    ({"schedule": "cosine"}, 1.0, 2),
    ({}, 2.0, 1),
    ({"optimizer": "adamw", "schedule": "cosine"}, 1.0, 1),
    ({"momentum": 0.9, "nesterov": True}, 0.1, 1),
    ({"batch_size": 64}, 2.0, 1),
    ({"optimizer": "adamw", "batch_size": 16}, 0.5, 1),
    ({}, 30.0, 1),
    ({"schedule": "linear", "warmup_steps": 20}, 2.0, 1),
    ({"optimizer": "adamw"}, 3.0, 1),
    ({"batch_size": 8}, 0.3, 1),
    ({"optimizer": "adamw", "batch_size": 64}, 2.0, 1),
    ({"momentum": 0.9, "weight_decay": 0.1}, 0.1, 1),
    ({"batch_size": 16}, 1.0, 1),
    ({"optimizer": "adamw", "schedule": "linear", "warmup_steps": 10}, 2.0, 1),
    ({"momentum": 0.9}, 3.0, 1),
    ({"optimizer": "adamw", "weight_decay": 0.1}, 1.0, 1),
    ({"momentum": 0.9, "max_grad_norm": 1.0}, 0.3, 1),
    ({}, 5.0, 1),
    ({"optimizer": "adamw"}, 100.0, 1),
]


def runs(record_task: RecordTask) -> list[Run]:
    """All runs of a task, in an order in which every prefix is varied: first seeds first."""
    listed: list[tuple[int, Run]] = []
    for fields, relative, seeds in _CONFIGURATIONS:
        # Slow configurations are given more steps, so that what is censored is what would never get there.
        effective = relative / (1.0 - fields.get("momentum", 0.0))
        steps = round(record_task.max_steps * min(2.0, max(1.0, 1.0 / effective)))
        scale = record_task.adamw_lr if fields.get("optimizer") == "adamw" else record_task.sgd_lr
        candidate = Candidate(lr=scale * relative, max_steps=steps, **fields)
        seeds = max(seeds, record_task.adamw_seeds) if candidate.optimizer.name == "adamw" else seeds
        listed += [(seed, Run(candidate=candidate, seed=seed)) for seed in range(seeds)]
    return [run for _, run in sorted(listed, key=lambda pair: pair[0])]
