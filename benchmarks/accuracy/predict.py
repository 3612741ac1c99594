"""What raytt predicts for every configuration of the record; run directories are kept and re-used."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from raytt.forecast.forecast import Forecast
from raytt.forecast.prediction import Prediction
from raytt.settings.estimator import EstimatorSettings
from raytt.settings.ranking import RankingSettings
from raytt.store.run import Run
from raytt.task.candidate import Candidate
from raytt.task.target import Target
from raytt.workflows.plan import RankPlan
from raytt.workflows.predict import predict
from raytt.workflows.workspace import reporter_of

from .measures import Pair
from .tasks import RecordTask

THRESHOLDS = (0.5, 0.3, 0.2, 0.1, 0.05, 0.02)
"""Of the initial training loss."""
SEED = 1
"""Of sketch, subsample, simulated minibatches and the reference run."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How a prediction is made; what a sensitivity table varies."""

    samples: int | None = None
    proj_dim: int = 4096
    reference_steps: int | None = None
    num_paths: int = 8
    stop_ratio: float = 0.2
    """Loss ratio at which the reference run stops."""
    num_waypoints: int | None = None
    """Tangents on the reference run, besides the first."""
    whole_set: bool | None = None
    """Whether curves are carried over from the probed samples to the whole set; None: as raytt decides."""
    max_outputs: int = EstimatorSettings.max_outputs
    """Outputs probed per sample, at most."""
    val_accuracy: float | None = None
    """Target of the simulations; None: the last of the loss ratios."""

    def label(self) -> str:
        """For file names."""
        parts = [f"n{self.samples or 'all'}", f"r{self.proj_dim}", f"p{self.num_paths}", f"s{self.stop_ratio:g}"]
        parts += [] if self.reference_steps is None else [f"k{self.reference_steps}"]
        parts += [] if self.max_outputs == EstimatorSettings.max_outputs else [f"o{self.max_outputs}"]
        parts += [] if self.num_waypoints is None else [f"w{self.num_waypoints}"]
        return "-".join(parts + ([] if self.val_accuracy is None else [f"v{self.val_accuracy:g}"]))

    def target(self) -> Target:
        """To which candidates are simulated."""
        if self.val_accuracy is None:
            return Target(kind="loss_ratio", value=THRESHOLDS[-1])
        return Target(kind="val_accuracy", value=self.val_accuracy)


def configuration(row: dict[str, Any]) -> Candidate:
    """That of a run of the record."""
    return Candidate.from_config(json.loads(row["config"]))


def unique(rows: list[dict[str, Any]]) -> list[Candidate]:
    """The configurations of the record, each once."""
    return list(dict.fromkeys(configuration(row) for row in rows))


def pair_of(row: dict[str, Any], real: float, forecast: Forecast) -> Pair:
    """A run and its forecast; steps are compared, not costs."""
    return Pair(
        real=real, diverged=bool(row["diverged"]), predicted=forecast.steps, low=forecast.low, high=forecast.high
    )


def run_prediction(
    record_task: RecordTask, candidates: list[Candidate], setting: Setting, folder: Path
) -> tuple[Prediction, Mapping[str, float]]:
    """Predict all candidates; gives the prediction and the seconds of its phases."""
    plan = RankPlan(
        target=setting.target(),
        ranking=RankingSettings(seed=SEED),
        estimator=EstimatorSettings(
            samples=setting.samples,
            proj_dim=setting.proj_dim,
            num_paths=setting.num_paths,
            reference_steps=setting.reference_steps,
            max_outputs=setting.max_outputs,
        ),
        whole_set=setting.whole_set,
        stop_ratio=setting.stop_ratio,
        num_waypoints=setting.num_waypoints,
    )
    task = record_task.task
    run = Run.open(folder, f"{task.name}-{setting.label()}", task_name=task.name)
    reporter = reporter_of(run, progress=True)
    return predict(task, candidates, plan, run, reporter=reporter), reporter.seconds


def forecasts(prediction: Prediction, *, corrected: bool) -> dict[float, dict[Candidate, Forecast]]:
    """By threshold."""
    return {
        ratio: prediction.forecasts(Target(kind="loss_ratio", value=ratio), corrected=corrected) for ratio in THRESHOLDS
    }


def real_arrival(row: dict[str, Any], val_accuracy: float) -> float:
    """First step at which a real run has that validation accuracy, linear between records; +inf if never."""
    found = np.asarray(row["val_accuracy"])
    above = np.flatnonzero(found >= val_accuracy)
    if len(above) == 0:
        return float("inf")
    i = int(above[0])
    if i == 0:
        return 0.0
    share = (val_accuracy - found[i - 1]) / (found[i] - found[i - 1])
    return float(row["steps"][i - 1] + share * (row["steps"][i] - row["steps"][i - 1]))


def real_crossings(row: dict[str, Any]) -> list[float]:
    """First step of a real run at each threshold, log-linear between records; +inf where it is not reached."""
    loss = np.maximum(np.asarray(row["train_loss"], dtype=np.float64) / row["train_loss"][0], 1e-30)
    found = []
    for ratio in THRESHOLDS:
        below = np.flatnonzero(loss <= ratio)
        if len(below) == 0:
            found.append(np.inf)
            continue
        i = int(below[0])
        share = (np.log(loss[i - 1]) - np.log(ratio)) / (np.log(loss[i - 1]) - np.log(loss[i]))
        found.append(float(row["steps"][i - 1] + share * (row["steps"][i] - row["steps"][i - 1])))
    return found
