"""Forecasts of candidates that were pilots."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from raytt.forecast.forecast import Status
from raytt.forecast.pilots.outcome import real_forecast
from raytt.task.candidate import Candidate
from tests.forecast.pilots.problems import INITIAL, pilot

RUN = pilot(Candidate(lr=0.01), 300, 0.0)


def test_a_pilot_that_arrived_is_forecast_as_it_went() -> None:
    found = real_forecast(RUN, INITIAL * math.exp(-1.0))
    assert found is not None
    assert found.status is Status.REACHED
    assert found.steps == pytest.approx(100.0, rel=0.02)
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.steps < found.high < 1.2 * found.low
    assert "trained for real as a pilot" in found.doubts[0]


def test_the_end_of_the_budget_and_divergence_are_known_too() -> None:
    missed = real_forecast(RUN, INITIAL * math.exp(-4.0))
    assert missed is not None
    assert missed.status is Status.NOT_REACHED
    assert missed.shortfall == pytest.approx(1.0, abs=0.05)
    wild = replace(RUN, losses=np.array([1.0, 5.0, np.inf]), diverged=True)
    lost = real_forecast(wild, 0.5)
    assert lost is not None
    assert lost.status is Status.UNSTABLE


def test_a_pilot_that_was_given_up_says_nothing_of_its_own_end() -> None:
    assert real_forecast(replace(RUN, losses=RUN.losses[:80]), INITIAL * math.exp(-1.0)) is None
