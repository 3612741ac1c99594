"""The study of what pilots gain, on runs whose slowness is known."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.rates.pilots import Family, Study
from raytt.task.candidate import Candidate
from tests.forecast.pilots.problems import INITIAL, pilot, walker

CANDIDATES = [Candidate(lr=lr, batch_size=size) for lr in (0.01, 0.02) for size in (16, 32)]
SLOWNESS = 0.15


@pytest.fixture(scope="module")
def study() -> Study:
    family = Family(
        task="made up",
        optimizer="sgd",
        runs=tuple(pilot(c, 400, SLOWNESS) for c in CANDIDATES),
        seconds=np.ones(len(CANDIDATES)),
        initial=INITIAL,
        walkers=(walker, walker),
    )
    return Study(family, 0.4, 1.0)


def test_without_pilots_errors_are_those_of_the_walk(study: Study) -> None:
    errors, spreads = study.errors([], "rates")
    np.testing.assert_allclose(errors, -SLOWNESS, atol=0.03)
    assert spreads.shape == (4,)


def test_pilots_leave_smaller_errors_of_the_others(study: Study) -> None:
    errors, _ = study.errors([0, 3], "rates")
    assert errors.shape == (2,)
    assert float(np.abs(errors).max()) < 0.4 * SLOWNESS


def test_cost_and_regret_are_of_real_runs(study: Study) -> None:
    everyone = range(4)
    assert study.share([0, 1, 2, 3], everyone) == pytest.approx(1.0)
    # The higher learning rate takes half the steps, whatever the batch size.
    assert study.share([2], everyone) == pytest.approx(1.0 / 6.0, rel=0.05)
    assert study.regret([], everyone) == pytest.approx(0.0, abs=0.05)
    assert study.regret([], [0, 1]) == pytest.approx(0.0, abs=0.05)


def test_pilots_are_taken_from_those_asked_for_while_there_is_doubt(study: Study) -> None:
    assert set(study.acquired(2, [0, 1, 2])) <= {0, 1, 2}
    assert len(study.acquired(2, [0, 1, 2])) == 2
    assert study.acquired(2, [0, 1, 2], doubt=1.0) == []
