"""Reference runs that overshoot are run again at a lower learning rate, and both tell how others fare."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import raytt
from raytt.cluster.stages.training_references import SavedReference, TrainingPlan
from raytt.errors import NoDescentError
from raytt.forecast.forecast import Status
from raytt.rates.evaluation import Metrics
from raytt.rates.reference import train_as_given
from raytt.rates.smoothing import first_crossing, smoothed
from raytt.settings.estimator import EstimatorSettings
from raytt.task.candidate import Candidate
from raytt.workflows import lower_references
from raytt.workflows.lower_references import LEAST_STEPS, LITTLE, LOWER, MORE_STEPS, lower_where_overshot
from raytt.workflows.plan import RankPlan
from tests.support.training_task import NUM_SAMPLES, TASK

TARGET = 0.4
EPOCHS = 20
SPACE = [
    {"optimizer": "adamw", "lr": lr, "batch_size": size, "schedule": schedule}
    for lr, size, schedule in [
        (0.006, 32, "constant"),
        (0.012, 16, "cosine"),
        (0.03, 32, "constant"),
        (0.04, 64, "cosine"),
        (0.1, 32, "linear"),
        (0.15, 32, "constant"),
    ]
]


def ranked(folder: Path, name: str) -> raytt.Ranking:
    return raytt.rank(
        TASK,
        SPACE,
        target=TARGET,
        max_epochs=EPOCHS,
        estimator=EstimatorSettings(pilots=0),
        run=raytt.RunSettings(storage_path=folder, name=name, progress=False),
    )


def errors(ranking: raytt.Ranking) -> list[float]:
    """ln(predicted/real) of those that are trusted, with another seed."""
    found = []
    for entry in ranking.entries:
        if entry.forecast.status is not Status.REACHED:
            continue
        budget = entry.candidate.budget(num_samples=NUM_SAMPLES, default_epochs=EPOCHS)
        curve = smoothed(train_as_given(TASK, entry.candidate, seed=9, steps=budget).losses)
        real = first_crossing(np.arange(len(curve), dtype=np.float64), curve, TARGET * curve[0])
        found.append(math.log((entry.forecast.steps or math.inf) / real))
    return found


def test_a_ranking_follows_the_run_that_gained_more(
    ray_session: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranking = ranked(tmp_path, "lower")
    (note,) = (note for note in ranking.notes if "its steps overshot" in note)
    assert "is followed" in note
    (reference,) = (note for note in ranking.notes if note.startswith("Reference run"))
    # 0.3 times the middle of theirs.
    assert "lr 0.0104" in reference
    found = errors(ranking)
    assert len(found) >= 3
    assert np.median(np.abs(found)) < math.log(1.3), found
    again = ranked(tmp_path, "lower")
    assert [e.forecast.steps for e in again.entries] == [e.forecast.steps for e in ranking.entries]


REFERENCE = SavedReference(
    candidate=Candidate(optimizer="adamw", lr=0.03, batch_size=32),
    losses=np.linspace(2.0, 0.5, 50),
    times=0.03 * np.arange(51),
    point_steps=(0, 49),
    evaluated=(),
    wasted_steps=0,
    stopped="",
    entries=(),
    states=(),
    made_from="first",
)


def metrics(val_loss: float) -> Metrics:
    return Metrics(train_loss=None, train_accuracy=None, val_loss=val_loss, val_accuracy=None)


PLAN = TrainingPlan(
    candidate=REFERENCE.candidate,
    seed=0,
    stop_ratio=0.2,
    num_waypoints=3,
    most_steps=60,
    target=None,
    evaluates=False,
)


def lowered(
    monkeypatch: pytest.MonkeyPatch,
    gains: dict[str, float],
    *,
    fails: bool = False,
    most: int | None = None,
    steps: int = 50,
    first: SavedReference = REFERENCE,
    second: Any = None,
    target: str = "0.3",
) -> tuple[lower_references.Lowered, list[TrainingPlan]]:
    """With given gains by `made_from`; the plans that were run."""
    plans: list[TrainingPlan] = []

    def along(references: Any, *_: Any) -> list[Any]:
        return [SimpleNamespace(gained=lambda made=r.made_from: gains[made]) for r in references]

    def run(_: Any, asked: Any, **__: Any) -> list[SavedReference]:
        plans.extend(asked)
        if fails:
            raise NoDescentError("It did not.", "Remedy.")
        changes: dict[str, Any] = {
            "losses": first.losses[:steps],
            "evaluated": first.evaluated if second is None else second,
        }
        return [replace(first, candidate=one.candidate, made_from="second", **changes) for one in asked]

    class Reporter:
        def phase(self, *_: Any) -> Any:
            return Phase()

    class Phase:
        def __enter__(self) -> None: ...
        def __exit__(self, *_: Any) -> None: ...

    monkeypatch.setattr(lower_references, "along_own", along)
    monkeypatch.setattr(lower_references, "run_training_references", run)
    space: Any = SimpleNamespace(reporter=Reporter(), timed_ref=None, worker=None, run=None, files=None)
    plan = RankPlan(target=raytt.Target.parse(target), estimator=EstimatorSettings(reference_steps=most))
    return lower_where_overshot([first], [PLAN], [first.candidate], plan, space), plans


def test_a_run_that_gained_enough_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    found, plans = lowered(monkeypatch, {"first": 1.1 * LITTLE})
    assert found.references == (REFERENCE,)
    assert not plans
    assert not found.notes


def test_what_gained_more_is_followed_with_more_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    found, (plan,) = lowered(monkeypatch, {"first": 0.1, "second": 0.2})
    assert plan.candidate.lr == pytest.approx(LOWER * 0.03)
    assert plan.most_steps == math.ceil(MORE_STEPS * 50)
    assert [r.made_from for r in found.references] == ["second"]
    assert found.second["adamw"].reference is REFERENCE
    assert found.second["adamw"].gained == 0.1
    assert "gained 10% of what its gradients promise" in found.notes[0]
    assert "at 0.009, which gained 20%, is followed" in found.notes[0]


def test_what_gained_no_more_is_not_followed_but_paid_for(monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = lowered(monkeypatch, {"first": 0.1, "second": 0.05})
    assert found.references == (REFERENCE,)
    assert {name: one.reference.made_from for name, one in found.second.items()} == {"adamw": "second"}
    assert "is not followed: it gained no more" in found.notes[0]


def test_a_run_of_a_few_steps_leaves_no_path(monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = lowered(monkeypatch, {"first": 0.1, "second": 0.9}, steps=LEAST_STEPS - 1)
    assert found.references == (REFERENCE,)
    assert f"is not followed: it was at its end after {LEAST_STEPS - 1} steps" in found.notes[0]


def test_a_run_that_does_not_meet_what_the_first_met_is_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    target = "val_loss=1.0"
    evaluated = ((0, metrics(2.0)), (49, metrics(0.8)))
    first = replace(REFERENCE, evaluated=evaluated)
    found, _ = lowered(monkeypatch, {"first": 0.1, "second": 0.9}, first=first, target=target)
    assert [r.made_from for r in found.references] == ["second"]
    found, _ = lowered(monkeypatch, {"first": 0.1, "second": 0.9}, first=first, second=evaluated[:1], target=target)
    assert found.references == (first,)
    assert "it did not meet val_loss=1 in 50 steps" in found.notes[0]


def test_a_lower_run_that_learns_nothing_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = lowered(monkeypatch, {"first": 0.1}, fails=True)
    assert found.references == (REFERENCE,)
    assert not found.second


def test_steps_that_were_asked_for_are_not_exceeded(monkeypatch: pytest.MonkeyPatch) -> None:
    _, (plan,) = lowered(monkeypatch, {"first": 0.1, "second": 0.2}, most=60)
    assert plan.most_steps == 60
