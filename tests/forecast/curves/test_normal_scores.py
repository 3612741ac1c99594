from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from raytt.forecast.curves.normal_scores import LEAST_PROGRESS, POWER, NormalScores

ENDS = np.ones(5)


def test_final_values_get_normal_quantiles_of_their_ranks() -> None:
    scale = NormalScores.of(np.array([30.0, 10.0, 90.0, 50.0, 40.0]), ENDS)
    expected = norm.ppf([0.3, 0.1, 0.9, 0.7, 0.5])
    np.testing.assert_allclose(scale.score(np.array([30.0, 10.0, 90.0, 50.0, 40.0]), ENDS), expected, atol=1e-12)


def test_ties_get_their_mean() -> None:
    scale = NormalScores.of(np.array([1.0, 2.0, 2.0, 3.0]), np.ones(4))
    assert scale.score(np.array([2.0]), np.ones(1))[0] == pytest.approx(0.0, abs=1e-12)


def test_final_undoes_score_inside_and_beyond() -> None:
    scale = NormalScores.of(np.array([30.0, 10.0, 90.0, 50.0, 40.0]), ENDS)
    values = np.array([10.0, 22.0, 61.0, 90.0, 95.0])
    np.testing.assert_allclose(scale.final(scale.score(values, ENDS)), values, rtol=1e-12)


def test_an_early_value_counts_as_a_later_greater_one() -> None:
    scale = NormalScores.of(np.array([10.0, 30.0, 50.0, 90.0]), np.ones(4))
    share = (30.0 - 10.0) / 80.0
    for p in (0.5, 0.02, 0.0):
        as_if = 10.0 + 80.0 * share ** (max(p, LEAST_PROGRESS) ** POWER)
        early = scale.score(np.array([30.0]), np.array([p]))
        np.testing.assert_allclose(early, scale.score(np.array([as_if]), np.ones(1)), rtol=1e-12)
        assert early > scale.score(np.array([30.0]), np.ones(1))


def test_one_value_or_equal_values_have_a_scale() -> None:
    for values in ([5.0], [5.0, 5.0, 5.0]):
        scale = NormalScores.of(np.array(values), np.ones(len(values)))
        assert np.isfinite(scale.score(np.array([4.0, 5.0, 6.0]), np.ones(3))).all()
        assert scale.final(np.zeros(1))[0] == pytest.approx(5.0)
