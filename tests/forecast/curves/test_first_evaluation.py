from __future__ import annotations

import numpy as np
import pytest

from raytt.forecast.curves.first_evaluation import COST_SHARE, FAILURE_SHARE, failure_chances, seconds_each
from raytt.forecast.curves.similarity import similarity

POINTS = np.array([[0.0, 0.0], [0.1, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, 0.9]])
ALIKE = similarity(POINTS)


def test_unseen_ones_fail_as_alike_ones_did() -> None:
    chances = failure_chances(ALIKE, np.array([0, 3]), np.array([True, False]))
    assert chances[0] == chances[3] == 0.0
    assert chances[1] > 0.5 > chances[4]
    among = FAILURE_SHARE * ALIKE[np.ix_([0, 3], [0, 3])] + (1 - FAILURE_SHARE) * np.eye(2)
    expected = 0.5 + FAILURE_SHARE * ALIKE[1, [0, 3]] @ np.linalg.inv(among) @ np.array([0.5, -0.5])
    assert chances[1] == pytest.approx(expected)


def test_where_none_failed_none_is_feared_to() -> None:
    assert failure_chances(ALIKE, np.array([0, 3]), np.array([False, False])).tolist() == [0.0] * 5


def test_seconds_are_those_seen_and_of_alike_ones_nearly() -> None:
    seen, seconds = np.array([0, 3]), np.array([1.0, 100.0])
    found = seconds_each(ALIKE, seen, seconds)
    assert found[0] == 1.0
    assert found[3] == 100.0
    among = COST_SHARE * ALIKE[np.ix_(seen, seen)] + (1 - COST_SHARE) * np.eye(2)
    centred = np.log(seconds) - np.log(10.0)
    assert np.log(found[4]) == pytest.approx(
        np.log(10.0) + COST_SHARE * ALIKE[4, seen] @ np.linalg.inv(among) @ centred
    )
    assert found[1] < 3.0 < 30.0 < found[4]


def test_no_seconds_known_are_ones() -> None:
    assert seconds_each(ALIKE, np.zeros(0, dtype=np.int64), np.zeros(0)).tolist() == [1.0] * 5
