from __future__ import annotations

import numpy as np
import pytest

from raytt.forecast.curves.curve_process import CurveProcess, Observations
from raytt.forecast.curves.next_evaluation import HORIZON, Buyable, best_chances, told_per_second
from raytt.forecast.curves.similarity import similarity

N, WHOLE = 5, 10
ALIKE = similarity(np.random.default_rng(1).normal(size=(N, 2)))
PROGRESS = np.broadcast_to(np.arange(1, WHOLE + 1) / WHOLE, (N, WHOLE))
SEEN = [(0, 2), (1, 1), (3, 6)]
SECONDS = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
WEIGHTS = np.array([1.0, 2.0, 1.0, 3.0, 1.0])


def process(rows: list[tuple[int, int]]) -> CurveProcess:
    return CurveProcess(
        similarity=ALIKE,
        log_cost=np.zeros(N),
        observed=Observations(
            candidates=np.array([i for i, _ in rows], dtype=np.int64),
            progress=np.array([k / WHOLE for _, k in rows], dtype=np.float64),
            scores=np.zeros(len(rows)),
        ),
    )


def buyable(failing: np.ndarray) -> Buyable:
    done = np.zeros(N, dtype=np.int64)
    for i, k in SEEN:
        done[i] = k
    return Buyable(
        candidates=np.arange(N), done=done, progress=PROGRESS, seconds=SECONDS, failing=failing, failed_score=-1.0
    )


def test_equals_refitting_with_every_observation_that_could_be_bought() -> None:
    open_ends = np.array([True, True, True, True, False])
    found = told_per_second(process(SEEN), open_ends, WEIGHTS, buyable(np.zeros(N)))
    _, before = process(SEEN).final()
    done = dict(SEEN)
    for i in range(N):
        best = 0.0
        for ahead in (1, HORIZON, WHOLE):
            then = min(done.get(i, 0) + ahead, WHOLE)
            _, after = process([*SEEN, (i, then)]).final()
            fall = float(((before - after) * WEIGHTS)[open_ends].sum())
            best = max(best, fall / (then - done.get(i, 0)) / SECONDS[i])
        assert found[i] == pytest.approx(best, rel=1e-9)


def test_a_possible_failure_takes_from_what_is_told_and_adds_its_own() -> None:
    open_ends, failing = np.ones(N, dtype=bool), np.array([0.0, 0.0, 0.3, 0.0, 0.0])
    sure = told_per_second(process(SEEN), open_ends, WEIGHTS, buyable(np.zeros(N)))
    unsure = told_per_second(process(SEEN), open_ends, WEIGHTS, buyable(failing))
    assert unsure[2] == pytest.approx(0.7 * sure[2] + WEIGHTS[2] * 0.3 * 0.7 * 1.0**2 / SECONDS[2])
    np.testing.assert_allclose(np.delete(unsure, 2), np.delete(sure, 2))


def test_chances_of_being_the_best() -> None:
    # P(z_0 > z_1) of two independent normals with means 1, 0 and variances 1, 1 is Φ(1/√2) = 0.760.
    assert best_chances(np.array([1.0, 0.0]), np.ones(2))[0] == pytest.approx(0.760, abs=0.05)
    assert best_chances(np.array([0.0, 2.0, 1.0]), np.zeros(3)).tolist() == [0.0, 1.0, 0.0]
