"""As many minibatches a rate as they need and the ranking may cost."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

import raytt
from raytt.cluster.stages import descent_rates
from raytt.pricing.step_time import StepTime
from raytt.workflows import anytime_rates, step_costs
from raytt.workflows.anytime_rates import FEWEST, MOST, TOLD, minibatches_needed
from tests.support.training_task import TASK

SPACE = [
    {"lr": 0.1, "batch_size": 32},
    {"lr": 0.05, "batch_size": 8},
    {"lr": 0.02, "batch_size": 64},
]


@pytest.mark.parametrize(
    ("error", "affordable", "expected"),
    [
        (0.5 * TOLD, math.inf, None),  # Well known.
        (1.2 * TOLD, math.inf, 2 * FEWEST),  # 1.44 times as many, in whole blocks.
        (10.0 * TOLD, math.inf, MOST),
        (math.inf, math.inf, MOST),
        (10.0 * TOLD, 2.5 * FEWEST, 2 * FEWEST),
        (10.0 * TOLD, 1.5 * FEWEST, None),  # Not paid for.
    ],
)
def test_more_minibatches_where_they_help_and_are_paid_for(
    error: float, affordable: float, expected: int | None
) -> None:
    assert minibatches_needed(error, affordable=affordable) == expected


@pytest.fixture(scope="module")
def folder(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("anytime")


def ranked(folder: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> tuple[raytt.Ranking, list[int]]:
    """The ranking, and the minibatches per rate that were measured, one number for each time: at the reference's own
    batch size first, from which follows what it gained.
    """
    asked: list[int] = []
    usual = descent_rates.measure_rates

    def measure(*args: Any, minibatches: int, **named: Any) -> Any:
        asked.append(minibatches)
        return usual(*args, minibatches=minibatches, **named)

    def times(_: Any, sizes: Any, **__: Any) -> dict[int, StepTime]:
        return {
            size: StepTime(batch_size=size, seconds=1.0, low=1.0, high=1.0, source="as told") for size in set(sizes)
        }

    monkeypatch.setattr(anytime_rates, "measure_rates", measure)
    monkeypatch.setattr(step_costs, "measure_step_times", times)
    ranking = raytt.rank(
        TASK,
        SPACE,
        target=0.5,
        max_epochs=20,
        estimator=raytt.EstimatorSettings(pilots=0, **settings),
        run=raytt.RunSettings(storage_path=folder, name="one", progress=False),
    )
    return ranking, asked


def test_the_number_asked_for_is_measured_at_any_cost(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, asked = ranked(folder, monkeypatch, minibatches=4)
    assert asked == [4, 4]


def test_where_money_is_short_there_are_few(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, asked = ranked(folder, monkeypatch)
    assert asked == [FEWEST, FEWEST]


def test_where_it_is_not_there_are_more(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anytime_rates, "TOLD", 1e-3)
    monkeypatch.setattr(anytime_rates.Spending, "left", math.inf)
    ranking, asked = ranked(folder, monkeypatch)
    assert asked == [FEWEST, FEWEST, MOST]
    assert all(entry.forecast.steps is not None for entry in ranking.entries)


def test_an_interrupt_keeps_what_was_measured(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few, _ = ranked(folder, monkeypatch)
    monkeypatch.setattr(anytime_rates, "TOLD", 1e-3)
    monkeypatch.setattr(anytime_rates.Spending, "left", math.inf)
    usual = descent_rates.measure_rates

    def interrupted(*args: Any, minibatches: int, **named: Any) -> Any:
        if minibatches > FEWEST:
            raise KeyboardInterrupt
        return usual(*args, minibatches=minibatches, **named)

    monkeypatch.setattr(descent_rates, "measure_rates", interrupted)
    again, asked = ranked(folder, monkeypatch)
    assert asked == [FEWEST, FEWEST, MOST]
    assert [e.forecast for e in again.entries] == [e.forecast for e in few.entries]
