from __future__ import annotations

import time

import numpy as np
import pytest

from benchmarks.arena.purse import Purse, Spent

from .contests import contest


def test_rankings_are_written_down_when_their_share_is_spent() -> None:
    made = contest()
    purse = Purse(made, [0.1, 0.505])
    purse.ranking = lambda: np.array([len(seen) for seen in purse.seen], dtype=np.float64)
    bought = 0

    def buy() -> None:
        nonlocal bought
        for run in range(2, 12):
            while not purse.ended[run]:
                purse.train(run)
                bought += 1

    with pytest.raises(Spent):
        buy()
    evaluations = made.total / 100.0
    # The evaluation within which the last of the money goes brings nothing.
    assert [r.sum() for r in purse.rankings] == [int(0.1 * evaluations), int(0.505 * evaluations)]
    assert bought == int(0.505 * evaluations)
    assert purse.spent >= 0.505 * made.total


def test_a_run_that_ends_early_says_so_with_its_last_evaluation() -> None:
    purse = Purse(contest(), [1.0])
    purse.train(0)
    assert purse.ended.tolist() == [True] + [False] * 11
    with pytest.raises(ValueError, match="run 0 has ended after 1"):
        purse.train(0)


def test_a_limit_is_paid_and_brings_nothing() -> None:
    purse = Purse(contest(), [1.0])
    assert purse.train(3, limit=40.0) is None
    assert 40.0 <= purse.spent < 50.0
    assert purse.seen[3] == []


def test_own_computing_is_paid() -> None:
    purse = Purse(contest(), [1.0])
    purse.train(3)
    began = time.process_time()
    while time.process_time() < began + 0.02:
        pass
    purse.train(4)
    assert purse.computing >= 0.02
    assert purse.spent == pytest.approx(200.0 + purse.computing, abs=1e-9)


def test_who_wants_nothing_more_keeps_the_last_ranking() -> None:
    purse = Purse(contest(), [0.1, 0.2])
    purse.ranking = lambda: np.arange(12.0)
    purse.finish()
    assert [r.tolist() for r in purse.rankings] == [list(range(12))] * 2
