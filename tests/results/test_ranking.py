from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from raytt.errors import StoreError
from raytt.forecast.forecast import Forecast, Status
from raytt.pricing.machine import Timing
from raytt.pricing.step_key import step_key
from raytt.pricing.step_time import StepTime
from raytt.pricing.work import StepWork
from raytt.results.entry import rank_candidates
from raytt.results.ranking import Ranking
from raytt.task.candidate import Candidate
from raytt.task.target import Target
from tests.support.fakes import EXAMPLES, STEP_TIMES, FakeStepTime, example_ranking


def reached(steps: float) -> Forecast:
    return Forecast(status=Status.REACHED, steps=steps, low=steps, high=steps, shortfall=0.0)


def missed(status: Status, shortfall: float | None) -> Forecast:
    return Forecast(status=status, steps=None, shortfall=shortfall)


def test_order_of_the_example() -> None:
    ranking = example_ranking()
    assert [entry.rank for entry in ranking.entries] == [1, 2, 3, 4, 5, 6, 7]
    # By time: 80.5 × 0.3 s, 100 × 0.3 s, 1200 × 0.1 s; then noise floor, not reached by what is missing, unstable.
    assert [entry.candidate.lr for entry in ranking.entries] == [0.01, 0.03, 0.002, 0.1, 0.0002, 0.0001, 0.5]


def test_fewer_steps_may_cost_more() -> None:
    small, large = Candidate(lr=0.1, batch_size=8), Candidate(lr=0.1, batch_size=64)
    entries = rank_candidates(
        [large, small], [reached(100), reached(400)], budgets=[500] * 2, step_times=STEP_TIMES, num_samples_full=100
    )
    assert [entry.candidate for entry in entries] == [small, large]


def test_ties_are_settled_by_steps_then_by_the_configuration() -> None:
    even = {8: FakeStepTime(0.25, 0.25, 0.25), 32: FakeStepTime(0.5, 0.5, 0.5)}
    candidates = [Candidate(lr=0.2, batch_size=8), Candidate(lr=0.3), Candidate(lr=0.1)]
    entries = rank_candidates(
        candidates,
        [reached(200), reached(100), reached(100)],
        budgets=[500] * 3,
        step_times=even,
        num_samples_full=100,
    )
    assert [entry.candidate.lr for entry in entries] == [0.1, 0.3, 0.2]


def test_untrusted_come_after_all_that_are_trusted() -> None:
    candidates = [Candidate(lr=lr) for lr in (0.1, 0.2, 0.3)]
    forecasts = [
        replace(reached(5), status=Status.UNTRUSTED),
        reached(300),
        missed(Status.NOT_REACHED, 0.1),
    ]
    entries = rank_candidates(candidates, forecasts, budgets=[500] * 3, step_times=STEP_TIMES, num_samples_full=10)
    assert [entry.candidate.lr for entry in entries] == [0.2, 0.1, 0.3]


def test_missed_without_a_known_distance_come_last_in_their_group() -> None:
    candidates = [Candidate(lr=lr) for lr in (0.1, 0.2, 0.3, 0.4)]
    forecasts = [
        missed(Status.UNSTABLE, None),
        missed(Status.UNSTABLE, 3.0),
        missed(Status.NOT_REACHED, None),
        missed(Status.NOT_REACHED, 9.0),
    ]
    entries = rank_candidates(candidates, forecasts, budgets=[5] * 4, step_times=STEP_TIMES, num_samples_full=10)
    assert [entry.candidate.lr for entry in entries] == [0.4, 0.3, 0.2, 0.1]


def test_numbers_of_an_entry() -> None:
    entry = example_ranking().entries[1]
    assert entry.candidate == Candidate(lr=0.03)
    assert entry.epochs == pytest.approx(100 * 32 / 1000)
    assert entry.seconds == pytest.approx(30.0)
    assert entry.usd == pytest.approx(30.0 / 3600 * 1.2)
    assert entry.quote is not None
    assert entry.quote.low is not None
    assert entry.quote.high is not None
    assert entry.quote.low < 30 * 0.9 < 30 * 1.2 < entry.quote.high
    assert entry.budget_seconds == pytest.approx(450.0)


def test_a_step_that_accumulates_takes_as_many_minibatches_times_as_long() -> None:
    plain, accumulated = (
        rank_candidates(
            [Candidate(lr=0.1, batch_size=32, accumulation_steps=times)],
            [reached(20.0)],
            budgets=[50],
            step_times=STEP_TIMES,
            num_samples_full=640,
            usd_per_hour=2.0,
        )[0]
        for times in (1, 3)
    )
    assert (plain.epochs, accumulated.epochs) == (1.0, 3.0)
    assert plain.quote is not None
    assert accumulated.quote is not None
    assert accumulated.quote.seconds == pytest.approx(3 * plain.quote.seconds)
    assert accumulated.budget_seconds == pytest.approx(3 * plain.budget_seconds)


def test_candidates_of_other_networks_have_times_of_their_own() -> None:
    """In the ranking, on the machines of a decision, and in what is stored of them."""
    candidates = [Candidate(lr=0.1, batch_size=16, model_arguments={"rank": rank, "to": ["q"]}) for rank in (2, 8)]
    timed = {
        step_key(c): StepTime(batch_size=16, seconds=seconds, low=seconds, high=seconds, source="timed")
        for c, seconds in zip(candidates, (0.1, 0.4), strict=True)
    }
    timing = Timing(
        timed=timed,
        work={
            key: StepWork(batch_size=16, conv_flops=0.0, other_flops=1.0, num_bytes=1.0, num_operations=1, dtype="f")
            for key in timed
        },
    )
    entries = rank_candidates(
        candidates, [reached(20.0), reached(10.0)], budgets=[50, 50], step_times=timed, num_samples_full=640
    )
    assert [(e.candidate, e.seconds) for e in entries] == [(candidates[0], 2.0), (candidates[1], 4.0)]
    ranking = example_ranking(timing=timing, entries=entries)
    again = Ranking.from_json(json.loads(json.dumps(ranking.to_json())))
    assert again.timing == timing
    for found in (ranking, again):
        assert [plan.seconds for plan in found.decide().plans] == [2.0, 4.0]


def test_best() -> None:
    best = example_ranking().best
    assert best is not None
    assert best.candidate == Candidate(lr=0.01, momentum=0.9, nesterov=True)
    assert example_ranking(EXAMPLES[3:]).best is None
    assert example_ranking(()).best is None


def test_saving_counts_whole_budgets_of_the_missed_and_nothing_of_the_unstable() -> None:
    ranking = example_ranking()
    training = 80.5 * 0.3 + 100 * 0.3 + 1200 * 0.1 + 1500 * (0.1 + 0.3 + 0.3)
    assert ranking.replaced_seconds == pytest.approx(training)
    assert ranking.total_seconds == 50.0
    assert ranking.saving == pytest.approx(training / 50)
    assert example_ranking(phases={}).saving is None


def test_json_has_the_promised_keys() -> None:
    data = example_ranking().to_json()
    assert {"task", "method", "target", "phases", "candidates"} <= set(data)
    assert (data["task"], data["method"], data["target"]) == ("digits", "sgd", "loss_ratio=0.1")
    assert data["phases"] == {"start": 6.0, "probe": 30.0, "solve": 14.0}
    first = data["candidates"][0]
    assert first["config"] == {"optimizer": "sgd", "lr": 0.01, "batch_size": 32, "momentum": 0.9, "nesterov": True}
    promised = {"rank", "config", "status", "steps", "steps_low", "steps_high", "epochs", "seconds", "usd"}
    assert promised <= set(first)
    assert (first["rank"], first["status"], first["steps"], first["steps_high"]) == (1, "reached", 80.5, None)
    last = data["candidates"][-1]
    assert [last[k] for k in ("status", "steps", "steps_low", "steps_high", "epochs", "seconds", "usd")] == [
        "unstable",
        *[None] * 6,
    ]
    json.dumps(data, allow_nan=False)


def test_save_and_load(tmp_path: Path) -> None:
    ranking = example_ranking(target=Target(kind="plateau", value=1 / 3, patience=2.5))
    path = tmp_path / "new" / "ranking.json"
    ranking.save(path)
    assert Ranking.load(path) == ranking
    assert os.listdir(path.parent) == ["ranking.json"]


def test_failed_save_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ranking.json"
    example_ranking().save(path)
    before = path.read_bytes()

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(StoreError, match=r"Cannot write .*ranking\.json: No space left on device"):
        example_ranking(EXAMPLES[:2]).save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["ranking.json"]


def test_nan_is_never_written(tmp_path: Path) -> None:
    broken = example_ranking(phases={"start": float("nan")})
    with pytest.raises(ValueError, match="JSON compliant"):
        broken.save(tmp_path / "ranking.json")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"task": "x"}', '{"task": 1, "candidates": 3}', "not json"])
def test_files_that_are_no_ranking(tmp_path: Path, text: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(StoreError, match="is not a ranking that raytt wrote"):
        Ranking.load(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"Cannot read .*nothing\.json: No such file"):
        Ranking.load(tmp_path / "nothing.json")


def test_data_frame() -> None:
    frame = example_ranking().to_pandas()
    assert list(frame["rank"]) == list(range(1, 8))
    assert frame["lr"].tolist()[0] == 0.01
    assert {"momentum", "schedule", "batch_size", "status", "steps", "seconds", "usd"} <= set(frame.columns)
    assert frame["steps"].isna().tolist() == [False] * 3 + [True] * 4
    assert example_ranking(()).to_pandas().empty


def test_a_ranking_is_a_value() -> None:
    assert example_ranking() == example_ranking()
    assert example_ranking() != replace(example_ranking(), notes=())
