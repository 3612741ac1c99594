from __future__ import annotations

import math

import numpy as np
import pytest

from raytt.errors import InputError
from raytt.forecast.curves.similarity import coordinates, similarity


def test_numbers_become_ranks_and_words_one_coordinate_per_value() -> None:
    found = coordinates(
        [
            {"lr": 1e-5, "opt": "sgd", "amp": True, "same": 3},
            {"lr": 1e-1, "opt": "adam", "amp": False, "same": 3},
            {"lr": 1e-3, "opt": "lion", "amp": False, "same": 3},
        ]
    )
    amp, lr, adam, lion, sgd = found.T
    assert amp.tolist() == [0.0, 1.0, 1.0]
    assert lr.tolist() == [0.0, 1.0, 0.5]
    assert (adam + lion + sgd).tolist() == [1.0, 1.0, 1.0]
    assert sgd.tolist() == [1.0, 0.0, 0.0]


def test_a_number_missing_for_some_becomes_words() -> None:
    assert coordinates([{"momentum": 0.9}, {}, {"momentum": 0.9}]).tolist() == [[1.0], [0.0], [1.0]]


def test_equals_the_formula_pair_by_pair() -> None:
    points = np.random.default_rng(0).normal(size=(7, 3)) * [1.0, 10.0, 0.1]
    found = similarity(points)
    n, d = points.shape
    for i in range(n):
        for j in range(n):
            total = 0.0
            for c in range(d):
                mean_square = np.mean([(a - b) ** 2 for a in points[:, c] for b in points[:, c]])
                total += (points[i, c] - points[j, c]) ** 2 / mean_square
            assert found[i, j] == pytest.approx(math.exp(-total / d), abs=1e-12)


def test_no_hyperparameters_make_all_alike() -> None:
    assert similarity(coordinates([{}, {}])).tolist() == [[1.0, 1.0], [1.0, 1.0]]


@pytest.mark.parametrize("value", [math.nan, math.inf, [1.0]])
def test_what_is_no_hyperparameter_is_refused_by_name(value: object) -> None:
    with pytest.raises(InputError, match="'lr'"):
        coordinates([{"lr": 0.1}, {"lr": value}])  # type: ignore[dict-item]
