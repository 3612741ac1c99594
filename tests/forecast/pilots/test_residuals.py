"""Residuals of pilots that are slower than their walk by a known factor."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from raytt.forecast.pilots.pilot_run import PilotRun, passings
from raytt.forecast.pilots.residuals import GRID, residuals
from raytt.task.candidate import Candidate
from raytt.task.target import Target
from tests.forecast.pilots.problems import INITIAL, pilot, walker


@pytest.mark.parametrize("slowness", [-0.6, 0.0, 0.45])
@pytest.mark.parametrize(
    "candidate",
    [
        Candidate(lr=0.01),
        Candidate(lr=0.012, schedule="cosine"),
        Candidate(lr=0.002, momentum=0.9),
        Candidate(lr=0.01, warmup_steps=60),
    ],
    ids=["constant", "cosine", "momentum", "warm-up"],
)
def test_a_pilot_that_is_slower_in_learning_rate_time_has_that_residual(candidate: Candidate, slowness: float) -> None:
    run = pilot(candidate, 400, slowness)
    found = residuals(run, passings(run, INITIAL, [0.3, 0.6, 0.9]), INITIAL, walker)
    assert len(found) == 3
    assert [one.value for one in found] == pytest.approx([slowness] * 3, abs=0.02)
    assert [one.depth for one in found] == [0.3, 0.6, 0.9]


def test_a_pilot_evaluated_for_a_target_on_another_curve_is_judged_by_where_it_met_that() -> None:
    candidate, target = Candidate(lr=0.01), Target.parse("val_loss=0.5")
    # Its training loss says nothing; at depth 0.9 a walk in learning-rate time is after 90 steps.
    run = PilotRun(
        candidate=candidate, budget=400, losses=np.full(120, INITIAL), diverged=False, target=target, met=110.0
    )
    (found,) = residuals(run, passings(run, INITIAL, [0.3, 0.6, 0.9]), INITIAL, walker)
    assert found.depth == 0.9
    assert found.value == pytest.approx(math.log(110.0 / 90.0), abs=0.02)
    assert passings(replace(run, met=None), INITIAL, [0.3, 0.6, 0.9]) == []


def test_what_lies_beyond_the_grid_is_taken_to_be_at_its_end() -> None:
    run = pilot(Candidate(lr=0.05), 400, -3.0)
    (found,) = residuals(run, passings(run, INITIAL, [3.0]), INITIAL, walker)
    assert found.value == GRID[0]


def test_without_a_level_there_is_nothing_to_learn() -> None:
    run = pilot(Candidate(lr=0.0001), 50, 0.0)
    assert residuals(run, passings(run, INITIAL, [1.0]), INITIAL, walker) == []
    # A walk that does not get there at any pace.
    real = pilot(Candidate(lr=0.01), 400, 0.0)
    passed = passings(real, INITIAL, [1.0])
    assert residuals(run, passed, INITIAL, walker) == []
    assert np.isfinite([one.value for one in residuals(real, passed, INITIAL, walker)]).all()
