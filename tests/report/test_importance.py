from __future__ import annotations

import numpy as np
import pytest

from raytt.report.importance import LEAST, explained, importances
from raytt.task.candidate import Candidate


def test_groups_that_say_all_and_nothing() -> None:
    assert explained([0, 0, 1, 1], [1.0, 1.0, 5.0, 5.0]) == 1.0
    assert explained([0, 1, 0, 1], [1.0, 1.0, 5.0, 5.0]) == 0.0
    assert explained([0, 1], [1.0, 2.0]) == 0.0
    assert explained([0, 0, 1], [3.0, 3.0, 3.0]) == 0.0


def test_the_formula_by_hand() -> None:
    # Means 2 and 5, overall 3.5: SSB = 4 · 1.5² = 9, SSW = 2 + 2 = 4, n = 4, k = 2.
    assert explained([0, 0, 1, 1], [1.0, 3.0, 4.0, 6.0]) == pytest.approx((9 - 1 * 4 / 2) / 13)


def test_chance_alone_explains_nothing_on_average() -> None:
    rng = np.random.default_rng(0)
    found = [explained(rng.integers(0, 4, 20), rng.standard_normal(20)) for _ in range(400)]
    # Uncorrected it would be (k − 1)/(n − 1) = 0.16; cut off at 0 a little remains.
    assert np.mean(found) < 0.07


def test_what_drives_the_time_comes_first() -> None:
    rng = np.random.default_rng(1)
    candidates, seconds = [], []
    for _ in range(60):
        lr, momentum = float(10 ** rng.uniform(-3, -1)), float(rng.choice([0.0, 0.9]))
        candidates.append(Candidate(lr=lr, momentum=momentum, batch_size=int(rng.choice([16, 32]))))
        seconds.append(1.0 / lr * (0.5 if momentum else 1.0))
    found = importances(candidates, seconds)
    assert [f.name for f in found][:1] == ["lr"]
    assert found[0].share > 0.7
    assert {f.name for f in found} == {"lr", "momentum", "batch_size"}
    assert all(f.share < 0.2 for f in found[1:])


def test_hyperparameters_without_groups_are_left_out() -> None:
    assert importances([], []) == ()
    unlike = [Candidate(lr=0.1, schedule="constant", batch_size=i + 1) for i in range(LEAST)]
    assert [f.name for f in importances(unlike, [1.0 + i for i in range(LEAST)])] == ["batch_size"]
    assert importances(unlike[1:], [1.0 + i for i in range(LEAST - 1)]) == ()
