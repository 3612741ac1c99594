from __future__ import annotations

import math

import numpy as np
import pytest

from raytt.forecast.curves.curve_process import (
    COMMON,
    LENGTH,
    NOISE,
    NOUGHT,
    OWN,
    SLOPE,
    SMOOTH,
    CurveProcess,
    Observations,
)
from raytt.forecast.curves.similarity import similarity

RNG = np.random.default_rng(3)
N = 6
SIMILARITY = similarity(RNG.normal(size=(N, 3)))
COST = RNG.normal(size=N)
SEEN = [(0, 0.1, 0.4), (0, 0.3, 0.6), (2, 1.0, -1.0), (3, 0.0, 0.2), (3, 0.5, 0.9), (5, 0.02, -0.3)]


def process(rows: list[tuple[int, float, float]]) -> CurveProcess:
    return CurveProcess(
        similarity=SIMILARITY,
        log_cost=COST,
        observed=Observations(
            candidates=np.array([i for i, _, _ in rows], dtype=np.int64),
            progress=np.array([p for _, p, _ in rows], dtype=np.float64),
            scores=np.array([z for _, _, z in rows], dtype=np.float64),
        ),
    )


def prior(i: int, p: float, j: int, q: float) -> float:
    """The covariance as it is written, number by number."""
    fading = math.exp(-abs(math.log(p + NOUGHT) - math.log(q + NOUGHT)) / LENGTH)
    shared = SMOOTH**2 * SIMILARITY[i, j] + SLOPE**2 * COST[i] * COST[j] + (OWN**2 if i == j else 0.0)
    return COMMON**2 + shared * fading


def conditioned(rows: list[tuple[int, float, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Mean (n,) and covariance (n, n) of the ends in closed form, by an explicit inverse."""
    total = np.array([[prior(i, p, j, q) for j, q, _ in rows] for i, p, _ in rows]) + NOISE**2 * np.eye(len(rows))
    cross = np.array([[prior(j, 1.0, i, p) for i, p, _ in rows] for j in range(N)])
    before = np.array([[prior(j, 1.0, k, 1.0) for k in range(N)] for j in range(N)])
    gain = cross @ np.linalg.inv(total)
    return gain @ np.array([z for _, _, z in rows]), before - gain @ cross.T


def test_ends_equal_the_closed_form() -> None:
    mean, variance = process(SEEN).final()
    expected, covariance = conditioned(SEEN)
    np.testing.assert_allclose(mean, expected, atol=1e-10)
    np.testing.assert_allclose(variance, np.diag(covariance), atol=1e-10)


def test_without_observations_ends_are_as_before() -> None:
    mean, variance = process([]).final()
    assert mean.tolist() == [0.0] * N
    np.testing.assert_allclose(variance, COMMON**2 + SMOOTH**2 + SLOPE**2 * COST**2 + OWN**2)


@pytest.mark.parametrize("rows", [SEEN, []])
@pytest.mark.parametrize(("i", "p"), [(0, 0.5), (1, 0.02), (4, 1.0)])
def test_a_place_lowers_variances_as_an_observation_there_does(
    rows: list[tuple[int, float, float]], i: int, p: float
) -> None:
    place = process(rows).places(np.array([i]), np.array([p]))
    lowered = place.covariance[:, 0] ** 2 / place.variance[0]
    _, before = process(rows).final()
    _, after = process([*rows, (i, p, 0.0)]).final()
    np.testing.assert_allclose(before - lowered, after, atol=1e-10)


def test_the_whole_of_an_ended_curve_is_known_up_to_noise() -> None:
    mean, variance = process(SEEN).final()
    assert math.sqrt(variance[2]) <= NOISE
    assert abs(mean[2] + 1.0) < 2.0 * NOISE
