"""Predicts steps, time and cost of fine-tuning runs before you pay for them, on Ray."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raytt.adapters.lightning.module import from_lightning
    from raytt.adapters.transformers.trainer import from_transformers
    from raytt.errors import InputError, RayttError, ResourceError, StoreError, WorkerError
    from raytt.forecast.curves.rank_curves import CurveRanker, CurveRanking, rank_curves
    from raytt.forecast.forecast import Forecast, Status
    from raytt.forecast.pilots.observed_trial import ObservedTrial
    from raytt.pricing.terms import Terms
    from raytt.results.entry import Entry
    from raytt.results.ranking import Ranking
    from raytt.results.task_check import TaskCheck
    from raytt.results.validation import Validation
    from raytt.settings.cluster import ClusterSettings
    from raytt.settings.estimator import EstimatorSettings
    from raytt.settings.run import RunSettings
    from raytt.task.candidate import Candidate
    from raytt.task.early_stopping import EarlyStopping
    from raytt.task.losses import CrossEntropy, CustomLoss, Focal, Loss, SquaredError
    from raytt.task.parameter_groups import ParameterGroup, layerwise_decay
    from raytt.task.target import Target
    from raytt.task.task import Task
    from raytt.workflows.check import check
    from raytt.workflows.rank import rank
    from raytt.workflows.validate import validate

__all__ = [
    "Candidate",
    "ClusterSettings",
    "CrossEntropy",
    "CurveRanker",
    "CurveRanking",
    "CustomLoss",
    "EarlyStopping",
    "Entry",
    "EstimatorSettings",
    "Focal",
    "Forecast",
    "InputError",
    "Loss",
    "ObservedTrial",
    "ParameterGroup",
    "Ranking",
    "RayttError",
    "ResourceError",
    "RunSettings",
    "SquaredError",
    "Status",
    "StoreError",
    "Target",
    "Task",
    "TaskCheck",
    "Terms",
    "Validation",
    "WorkerError",
    "check",
    "from_lightning",
    "from_transformers",
    "layerwise_decay",
    "rank",
    "rank_curves",
    "validate",
]

_HOMES = {
    "raytt.adapters.lightning.module": ("from_lightning",),
    "raytt.adapters.transformers.trainer": ("from_transformers",),
    "raytt.task.candidate": ("Candidate",),
    "raytt.task.early_stopping": ("EarlyStopping",),
    "raytt.errors": ("InputError", "RayttError", "ResourceError", "StoreError", "WorkerError"),
    "raytt.forecast.curves.rank_curves": ("CurveRanker", "CurveRanking", "rank_curves"),
    "raytt.forecast.forecast": ("Forecast", "Status"),
    "raytt.forecast.pilots.observed_trial": ("ObservedTrial",),
    "raytt.task.losses": ("CrossEntropy", "CustomLoss", "Focal", "Loss", "SquaredError"),
    "raytt.workflows.check": ("check",),
    "raytt.workflows.rank": ("rank",),
    "raytt.pricing.terms": ("Terms",),
    "raytt.settings.cluster": ("ClusterSettings",),
    "raytt.settings.estimator": ("EstimatorSettings",),
    "raytt.settings.run": ("RunSettings",),
    "raytt.results.entry": ("Entry",),
    "raytt.results.ranking": ("Ranking",),
    "raytt.results.task_check": ("TaskCheck",),
    "raytt.task.parameter_groups": ("ParameterGroup", "layerwise_decay"),
    "raytt.task.target": ("Target",),
    "raytt.task.task": ("Task",),
    "raytt.results.validation": ("Validation",),
    "raytt.workflows.validate": ("validate",),
}


def __getattr__(name: str) -> Any:
    # torch, Ray and Tune take seconds to import: only what is used is, or `raytt --help` and every worker would wait.
    for home, names in _HOMES.items():
        if name in names:
            if home.startswith("raytt.results"):
                # Results are data: whoever asks for them here wants to see them, too.
                importlib.import_module("raytt.report.display")
            return getattr(importlib.import_module(home), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
