"""Predicts steps, time and cost of fine-tuning runs before you pay for them, on Ray."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raytt.candidates import Candidate
    from raytt.errors import InputError, RayttError, ResourceError, StoreError, WorkerError
    from raytt.forecast import Forecast, Status
    from raytt.losses import CrossEntropy, CustomLoss, Loss, SquaredError
    from raytt.pipeline import rank
    from raytt.pricing.terms import Terms
    from raytt.ranking import Entry, Ranking
    from raytt.target import Target
    from raytt.task import Task
    from raytt.validation import Validation, validate

__all__ = [
    "Candidate",
    "CrossEntropy",
    "CustomLoss",
    "Entry",
    "Forecast",
    "InputError",
    "Loss",
    "Ranking",
    "RayttError",
    "ResourceError",
    "SquaredError",
    "Status",
    "StoreError",
    "Target",
    "Task",
    "Terms",
    "Validation",
    "WorkerError",
    "rank",
    "validate",
]

_HOMES = {
    "raytt.candidates": ("Candidate",),
    "raytt.errors": ("InputError", "RayttError", "ResourceError", "StoreError", "WorkerError"),
    "raytt.forecast": ("Forecast", "Status"),
    "raytt.losses": ("CrossEntropy", "CustomLoss", "Loss", "SquaredError"),
    "raytt.pipeline": ("rank",),
    "raytt.pricing.terms": ("Terms",),
    "raytt.ranking": ("Entry", "Ranking"),
    "raytt.target": ("Target",),
    "raytt.task": ("Task",),
    "raytt.validation": ("Validation", "validate"),
}


def __getattr__(name: str) -> Any:
    # torch, Ray and Tune take seconds to import: only what is used is, or `raytt --help` and every worker would wait.
    for home, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(home), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
