"""Calibrations on pilots whose slowness is known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from raytt.forecast.pilots.calibration import Calibration
from raytt.task.candidate import Candidate
from tests.forecast.pilots.problems import SIZES, family, pilot

DEPTH = 0.8
TRUE = {8: 0.5, 16: 0.7, 32: 1.0, 64: 1.25}
CANDIDATES = {Candidate(lr=lr, batch_size=size): round(4.0 / lr) for size in SIZES for lr in (0.01, 0.02)}
PILOTS = [c for c in CANDIDATES if (c.lr == 0.01) == (c.batch_size in (8, 64))]


def calibrated(rates: dict[int, float], slowness: float = 0.0, count: int = 4) -> Calibration:
    runs = [pilot(c, CANDIDATES[c], slowness, rate=TRUE[c.batch_size]) for c in PILOTS[:count]]
    return Calibration.of({"sgd": family(CANDIDATES, DEPTH, rates)}, runs)


def test_a_common_slowness_is_learned_and_narrows_the_interval() -> None:
    found = calibrated(TRUE, slowness=0.12)
    learned = found.learned("sgd")
    assert learned is not None
    paces, spreads = learned.paces(list(CANDIDATES))
    np.testing.assert_allclose(paces, math.exp(-0.12), rtol=0.05)
    before = calibrated(TRUE, count=0).covariance(list(CANDIDATES))
    assert float(spreads.max()) < 0.9 * math.sqrt(float(np.diag(before).min()))


def test_true_rates_are_preferred_to_learning_rate_time_alone() -> None:
    learned = calibrated(TRUE).learned("sgd")
    assert learned is not None
    assert learned.uses_rates
    assert "descent rates, corrected" in learned.note


def test_rates_that_are_wrong_everywhere_give_way_to_learning_rate_time() -> None:
    # As fast as can be where training is slow; without pilots there is no reason not to believe it.
    wrong = {8: 4.0, 16: 0.3, 32: 1.0, 64: 0.2}
    assert calibrated(wrong, count=0).families["sgd"].uses_rates
    learned = calibrated(wrong).learned("sgd")
    assert learned is not None
    assert not learned.uses_rates
    assert "learning-rate time alone, corrected" in learned.note


def test_without_pilots_nothing_is_learned_or_said() -> None:
    found = calibrated(TRUE, count=0)
    assert found.learned("sgd") is None
    assert found.notes == ()


def test_families_are_independent() -> None:
    others = {Candidate(optimizer="adamw", lr=0.01, batch_size=size): 200 for size in SIZES}
    runs = [pilot(c, CANDIDATES[c], 0.2, rate=TRUE[c.batch_size]) for c in PILOTS]
    both = {"sgd": family(CANDIDATES, DEPTH, TRUE), "adamw": family(others, DEPTH, TRUE)}
    found = Calibration.of(both, runs)
    assert found.learned("adamw") is None
    mixed = [PILOTS[0], *others]
    covariance = found.covariance(mixed)
    assert not covariance[0, 1:].any()
    assert bool((covariance[1:, 1:] > 0.0).all())
    assert "4 candidates were trained" in found.notes[0]


def test_a_pilot_of_one_model_tells_less_of_another() -> None:
    (small, large), budget = (Candidate(lr=0.01, batch_size=16, model_arguments={"rank": r}) for r in (2, 8)), 400
    other = replace(small, lr=0.011)
    budgets = dict.fromkeys((small, large, other), budget)
    found = Calibration.of({"sgd": family(budgets, DEPTH, dict.fromkeys(SIZES, 1.0))}, [pilot(small, budget, 0.3)])
    learned = found.learned("sgd")
    assert learned is not None
    paces, spreads = learned.paces([other, large])
    before = Calibration.of({"sgd": family(budgets, DEPTH, dict.fromkeys(SIZES, 1.0))}, []).covariance([other, large])
    # Both are expected to be slower, the one of another model by less and with less certainty.
    assert paces[0] < paces[1] < 1.0
    assert spreads[0] < spreads[1] < 2.0 * math.sqrt(before[1, 1])
