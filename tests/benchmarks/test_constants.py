"""Constants are varied and put back, and what is counted of each value is right on cases with known answers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.accuracy.predict import THRESHOLDS
from benchmarks.constants import __main__ as command
from benchmarks.constants import forecasts, references, simulations, stopping
from benchmarks.constants.references import Told, line
from benchmarks.constants.stopping import replay
from benchmarks.constants.vary import Constant, shown, varied
from raytt.adapters.tune import stopper
from raytt.forecast import control_variate
from raytt.forecast.forecast import Forecast, Status
from raytt.results.entry import rank_candidates
from raytt.results.ranking import Ranking
from raytt.task.candidate import Candidate
from raytt.task.target import Target
from tests.support.fakes import FakeStepTime

LEVELS = Constant(home=control_variate, name="LEVELS", others=(6, 48))
CANDIDATE = Candidate(lr=0.1, batch_size=8, max_steps=200)


def test_a_constant_is_itself_again_even_after_an_error() -> None:
    own = control_variate.LEVELS

    def fail() -> None:
        with varied(LEVELS, 6.0):
            assert control_variate.LEVELS == 6
            assert isinstance(control_variate.LEVELS, int)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert own == control_variate.LEVELS


def test_the_own_value_is_marked() -> None:
    assert LEVELS.values[0] == control_variate.LEVELS
    assert shown(LEVELS, LEVELS.own).endswith("(raytt)")
    assert shown(LEVELS, 6) == "6"
    with varied(LEVELS, 6):
        assert shown(LEVELS, 6) == "6"


@pytest.mark.parametrize(
    "constant",
    [
        *forecasts.CORRECTED,
        *forecasts.PART_ONLY,
        *forecasts.INTERVALS,
        *forecasts.SLOWNESS,
        forecasts.FAR,
        *references.RULES,
        references.SHARE,
        *simulations.LIFTED,
        simulations.GROWTH,
        stopping.SLACK,
        stopping.LEARNING,
    ],
    ids=lambda constant: constant.name,
)
def test_every_constant_exists_and_is_set_beside_others(constant: Constant) -> None:
    assert constant.others
    assert constant.own not in constant.others


def test_reference_runs_are_counted() -> None:
    one = Told(arrived=True, failed=False, restarts=2, wasted=30, steps=100)
    assert line([one, replace(one, arrived=False, failed=True, restarts=0, wasted=50, steps=0)]) == [
        "2",
        "1",
        "1",
        "2",
        "40",
        "50",
    ]


def trial(halves_after: float, steps: int = 200) -> dict[str, Any]:
    """A recorded run whose loss halves in so many steps."""
    grid = np.arange(0, steps + 1, 10)
    return {
        "config": json.dumps(CANDIDATE.config()),
        "steps": grid.tolist(),
        "train_loss": (4.0 * 0.5 ** (grid / halves_after)).tolist(),
    }


def ranking_of(steps: float, high: float) -> Ranking:
    entries = rank_candidates(
        [CANDIDATE],
        [Forecast(status=Status.REACHED, steps=steps, low=steps / 2, high=high)],
        budgets=[200],
        step_times={8: FakeStepTime(1.0, 1.0, 1.0)},
        num_samples_full=80,
    )
    return Ranking(task="t", method="path", target=Target(kind="loss_ratio", value=stopping.RATIO), entries=entries)


def test_trials_that_are_ended_wrongly_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert stopping.RATIO in THRESHOLDS
    # To 0.1 of the loss: log₂ 10 = 3.32 halvings, 34 and 134 steps; the limit is 1.5 × 40 = 60.
    rows = [trial(10.0), trial(40.0)]
    assert replay(ranking_of(34.0, 40.0), rows) == ["2", "2", "1", f"{100 * (1 - (40 + 60) / (40 + 140)):.0f}"]
    monkeypatch.setattr(stopper, "SLACK", 10.0)
    assert replay(ranking_of(34.0, 40.0), rows) == ["2", "2", "0", "0"]
    # What never arrives is no mistake to end.
    monkeypatch.setattr(stopper, "SLACK", 1.0)
    assert replay(ranking_of(34.0, 40.0), [trial(1000.0)]) == ["1", "0", "0", f"{100 * (1 - 40 / 200):.0f}"]


def test_lines_that_were_kept_make_the_report_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    cells = ["WIDEST", "t", "sgd", "3 (raytt)", *"12345678"]
    (kept / "forecasts-t.json").write_text(json.dumps([cells]))
    (kept / "part-t-9.json").write_text(json.dumps([["LATER", "t:9", *cells[2:]]]))
    monkeypatch.setattr("benchmarks.report.RESULTS", tmp_path)
    monkeypatch.setattr(
        "sys.argv", ["constants", "--tasks", "t", "--parts", "t:9", "--sections", "", "--kept", str(kept)]
    )
    command.main()
    (report,) = tmp_path.glob("*-constants.md")
    assert "| WIDEST   | t    | sgd       | 3 (raytt) | 1 " in report.read_text()
    assert "| LATER" in report.read_text()
