"""A ranking that learns from the trials of a real Tuner."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray import tune

import raytt
from raytt.adapters.tune.trials import observed_trials
from raytt.forecast.pilots.observed_trial import ObservedTrial
from raytt.pricing.step_time import StepTime
from raytt.rates.reference import train_as_given
from raytt.rates.smoothing import first_crossing, smoothed
from raytt.report.terminal import plain
from raytt.task.candidate import Candidate
from raytt.workflows import step_costs
from tests.support.training_task import NUM_SAMPLES, TASK
from tests.workflows.test_rank_pilots import SPACE, TARGET

pytestmark = [
    pytest.mark.slow,
    # Tune's own.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"),
]

EPOCHS = 20
EVERY = 5


def _train(config: dict[str, Any]) -> None:
    """Trains as the configuration says and reports the mean loss of every five minibatches, for 60 steps."""
    candidate = Candidate.from_config({k: v for k, v in config.items() if k != "folder"})
    budget = candidate.budget(num_samples=NUM_SAMPLES, default_epochs=EPOCHS)
    log = train_as_given(TASK, candidate, seed=77, steps=min(60, budget), schedule_steps=budget)
    for step in range(EVERY, len(log.losses) + 1, EVERY):
        tune.report({"step": step, "loss": float(log.losses[step - EVERY : step].mean())})


@pytest.fixture(scope="module")
def trials(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> list[ObservedTrial]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AIR_NEW_OUTPUT", "0")
        tuner = tune.Tuner(
            _train,
            param_space={"lr": 0.03, "batch_size": 32, "momentum": tune.grid_search([0.9, 0.0]), "folder": "mine"},
            run_config=tune.RunConfig(storage_path=str(tmp_path_factory.mktemp("tune")), verbose=0),
        )
        return observed_trials(tuner.fit(), train_loss="loss", averaged=True)


CANDIDATES = [
    {"lr": 0.03, "momentum": 0.9, "batch_size": 32},
    {"lr": 0.03, "batch_size": 32},
    *SPACE[1:],
]


def ranked(folder: Path, name: str, observed: list[ObservedTrial], *, pilots: int = 0) -> raytt.Ranking:
    def times(_: Any, sizes: Any, **__: Any) -> dict[int, StepTime]:
        return {
            size: StepTime(batch_size=size, seconds=1.0, low=1.0, high=1.0, source="as told") for size in set(sizes)
        }

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step_costs, "measure_step_times", times)
        return raytt.rank(
            TASK,
            CANDIDATES,
            target=TARGET,
            max_epochs=EPOCHS,
            observed=observed,
            estimator=raytt.EstimatorSettings(pilots=pilots, minibatches=8),
            run=raytt.RunSettings(storage_path=folder, name=name, progress=False),
        )


def test_a_ranking_learns_from_them_for_nothing(trials: list[ObservedTrial], tmp_path: Path) -> None:
    assert [len(trial.steps) for trial in trials] == [12, 12]
    without, found = ranked(tmp_path, "r", []), ranked(tmp_path, "r", trials)
    before = {entry.candidate: entry.forecast for entry in without.entries}
    own = [Candidate(**config) for config in CANDIDATES[:2]]
    initial = found.provenance.initial_loss
    assert initial is not None
    for entry in found.entries:
        budget = entry.candidate.budget(num_samples=NUM_SAMPLES, default_epochs=EPOCHS)
        log = train_as_given(TASK, entry.candidate, seed=77, steps=min(200, budget), schedule_steps=budget)
        curve = smoothed(log.losses)
        real = first_crossing(np.arange(len(curve), dtype=np.float64), curve, TARGET * initial)
        assert entry.forecast.steps is not None
        if entry.candidate in own:
            # What every fifth step tells of the curve is what all of them do.
            assert entry.forecast.steps == pytest.approx(real, rel=0.15)
            assert "seen in a real trial" in entry.forecast.doubts[0]
        else:
            assert 0.0 < abs(math.log(entry.forecast.steps / before[entry.candidate].steps)) < 1.0
    text = " ".join(plain(found).split())
    assert "Trials: 2 candidates were observed for 120 steps in all" in text
    assert "Trials of sgd: left out in turn" in text
    assert "Pilots" not in text
    assert ranked(tmp_path, "r", trials).to_json()["candidates"] == found.to_json()["candidates"]


def test_pilots_are_trained_beside_them(trials: list[ObservedTrial], tmp_path: Path) -> None:
    found = ranked(tmp_path, "r", trials[:1], pilots=1)
    told = [doubt for entry in found.entries for doubt in entry.forecast.doubts]
    assert sum("seen in a real trial" in doubt for doubt in told) == 1
    assert sum("trained for real as a pilot" in doubt for doubt in told) == 1
    assert any(note.startswith("Pilots and trials of sgd: left out in turn") for note in found.notes)
