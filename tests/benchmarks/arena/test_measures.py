from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import spearmanr

from benchmarks.arena.measures import spearman, worth

TRUTH = np.array([10.0, 80.0, 30.0, 90.0, 50.0, 60.0, 20.0])


def test_spearman_equals_scipys() -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        a, b = rng.integers(0, 6, size=20).astype(np.float64), rng.normal(size=20)
        assert spearman(a, b) == pytest.approx(float(spearmanr(a, b)[0]))
    assert spearman(np.ones(3), np.arange(3.0)) == 0.0


def test_the_truth_itself_has_no_regret() -> None:
    found = worth(TRUTH, TRUTH)
    assert (found.spearman, found.first, found.five) == (pytest.approx(1.0), 0.0, 0.0)


def test_regrets_are_of_what_is_ranked_first() -> None:
    scores = np.array([7.0, 6.0, 5.0, np.nan, 4.0, 3.0, 2.0])
    found = worth(scores, TRUTH)
    assert found.first == 80.0
    assert found.five == 10.0
    assert found.first_share == pytest.approx(80.0 / 90.0)


def test_what_has_no_score_stands_in_the_middle() -> None:
    scores = np.array([1.0, 3.0, 2.0, np.nan, np.nan, np.nan, np.nan])
    filled = np.array([1.0, 3.0, 2.0, 2.0, 2.0, 2.0, 2.0])
    assert worth(scores, TRUTH).spearman == pytest.approx(float(spearmanr(filled, TRUTH)[0]))


def test_without_any_score_a_choice_is_a_random_one() -> None:
    found = worth(np.full(7, np.nan), TRUTH)
    assert found.first == pytest.approx(90.0 - TRUTH.mean())
    expected = np.mean([max(c) for c in combinations(TRUTH, 5)])
    assert found.five == pytest.approx(90.0 - expected)
