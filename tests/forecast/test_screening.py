from __future__ import annotations

import numpy as np
import pytest

from raytt.forecast.forecast import Forecast, Status
from raytt.forecast.screening import LEAST, WITHIN, contenders, shared_variances
from raytt.task.candidate import Candidate


def _reached(steps: float, status: Status = Status.REACHED) -> Forecast:
    return Forecast(status=status, steps=steps)


def _candidates(count: int, **fields: int) -> list[Candidate]:
    return [Candidate(lr=0.001 * (i + 1), **fields) for i in range(count)]


def test_those_near_the_cheapest_are_kept_in_the_order_given() -> None:
    many = _candidates(3 * LEAST)
    steps = {c: 100.0 * (1.0 + 4.0 * i / len(many)) for i, c in enumerate(many)}
    forecasts = {c: _reached(steps[c]) for c in reversed(many)}
    kept = contenders(forecasts, dict.fromkeys(many, 1000))
    assert kept == [c for c in forecasts if steps[c] <= WITHIN * 100.0]
    assert LEAST < len(kept) < len(many)


def test_some_are_kept_in_any_case() -> None:
    many = _candidates(LEAST + 10)
    forecasts = {c: _reached(10.0 if i == 0 else 1000.0 + i) for i, c in enumerate(many)}
    assert contenders(forecasts, dict.fromkeys(many, 5000)) == many[:LEAST]


def test_what_is_cheapest_on_some_machine_is_kept() -> None:
    filler = _candidates(LEAST, batch_size=16)
    by_samples, by_steps = Candidate(lr=0.1, batch_size=4), Candidate(lr=0.1, batch_size=256)
    # Half-way: 3.6 times the steps of the one, 3.6 times the samples of the other.
    between, neither = Candidate(lr=0.1, batch_size=32), Candidate(lr=0.2, batch_size=32)
    steps = {by_samples: 400.0, by_steps: 50.0, between: 180.0, neither: 1000.0}
    forecasts = {c: _reached(2000.0) for c in filler} | {c: _reached(n) for c, n in steps.items()}
    kept = contenders(forecasts, dict.fromkeys(forecasts, 5000))
    assert {by_samples, by_steps, between} <= set(kept)
    assert neither in kept  # among the first `LEAST`
    worse = dict(forecasts) | {c: _reached(150.0) for c in filler}
    assert neither not in contenders(worse, dict.fromkeys(worse, 5000))
    assert between in contenders(worse, dict.fromkeys(worse, 5000))


def test_what_does_not_arrive_counts_with_its_budget() -> None:
    filler = _candidates(LEAST)
    missed = Candidate(lr=0.1)
    forecasts = {c: _reached(100.0) for c in filler} | {missed: Forecast(status=Status.NOT_REACHED, steps=None)}
    assert missed in contenders(forecasts, dict.fromkeys(forecasts, 290))
    assert missed not in contenders(forecasts, dict.fromkeys(forecasts, 310))


def test_the_cheapest_is_a_trusted_one_where_there_is_one() -> None:
    filler = _candidates(2 * LEAST)
    untrusted = Candidate(lr=0.1)
    forecasts = {c: _reached(100.0) for c in filler} | {untrusted: _reached(10.0, Status.UNTRUSTED)}
    budgets = dict.fromkeys(forecasts, 1000)
    assert len(contenders(forecasts, budgets)) == len(forecasts)
    nobody = {c: Forecast(status=Status.UNSTABLE, steps=None) for c in forecasts}
    assert contenders(nobody, budgets) == list(forecasts)


def test_variances_are_those_of_the_nearest_kin() -> None:
    sgd8, sgd16 = Candidate(batch_size=8, lr=0.1), Candidate(batch_size=16, lr=0.1)
    adam8 = Candidate(optimizer="adamw", batch_size=8, lr=0.1)
    known: dict[Candidate, float | None] = {
        Candidate(batch_size=8, lr=0.01 * (i + 1)): v for i, v in enumerate((1.0, 2.0, 9.0, None))
    }
    known |= {Candidate(batch_size=32, lr=0.01): 4.0}
    found = shared_variances(known, [sgd8, sgd16, adam8])
    assert found == {sgd8: 2.0, sgd16: pytest.approx(np.median([1, 2, 9, 4])), adam8: pytest.approx(3.0)}
    assert shared_variances({sgd8: None}, [sgd16]) == {}
