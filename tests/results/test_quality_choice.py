"""Choices by quality on hand-made runs, held against an exhaustive search."""

from __future__ import annotations

import numpy as np
import pytest

from raytt.forecast.final_quality import QualityStatus
from raytt.forecast.forecast import Forecast, Status
from raytt.pricing.terms import Terms
from raytt.results.entry import Entry, rank_candidates
from raytt.results.quality_choice import choose_quality
from raytt.task.candidate import Candidate
from raytt.task.rank_objective import OBJECTIVES
from tests.results.test_decisions import CHEAP, QUICK
from tests.support.fakes import STEP_TIMES
from tests.support.qualities import quality

LOSS = OBJECTIVES.get("val_loss")
MISSED = Forecast(status=Status.NOT_REACHED, steps=None)


def ranked(**qualities: object) -> tuple[Entry, ...]:
    candidates = [Candidate(lr=0.1 * (i + 1)) for i in range(len(qualities))]
    return rank_candidates(
        candidates,
        [MISSED] * len(candidates),
        budgets=[100] * len(candidates),
        step_times=STEP_TIMES,
        num_samples_full=1000,
        qualities=dict(zip(candidates, qualities.values(), strict=True)),  # type: ignore[arg-type]
        objective=LOSS,
    )


def test_the_best_first_then_the_untrusted_then_those_that_diverge() -> None:
    found = ranked(
        bad=quality(0.9),
        diverging=quality(status=QualityStatus.UNSTABLE),
        doubtful=quality(0.1, status=QualityStatus.UNTRUSTED),
        best=quality(0.2, status=QualityStatus.EXTRAPOLATED),
    )
    assert [round(10 * entry.candidate.lr) for entry in found] == [4, 1, 3, 2]
    assert [entry.rank for entry in found] == [1, 2, 3, 4]


def test_of_equal_ones_the_fastest_is_first() -> None:
    found = ranked(long=quality(0.2, steps=100.0), short=quality(0.2, steps=50.0))
    assert [round(10 * entry.candidate.lr) for entry in found] == [2, 1]
    assert found[0].run_seconds == pytest.approx(0.5 * (found[1].run_seconds or 0.0))


def test_within_a_budget_a_run_may_be_ended_early() -> None:
    entries = ranked(slow=quality(2.0, 1.5, 1.0, 0.1), quick=quality(1.2, 1.1, 1.0, 0.9))
    # 100 steps of 1 s: the slow one is better in the end, the quick one before.
    for seconds, lr, step, value in ((100.0, 0.1, 100.0, 0.1), (60.0, 0.2, 60.0, 1.06), (25.0, 0.2, 25.0, 1.2)):
        best = choose_quality(entries, [CHEAP], Terms(deadline=seconds), LOSS).best
        assert best is not None
        assert (round(best.entry.candidate.lr, 3), best.step) == (lr, step)
        assert best.estimate.value == pytest.approx(value)
        assert best.ends == (seconds == 100.0)
    assert choose_quality(entries, [CHEAP], Terms(deadline=10.0), LOSS).best is None


def test_money_is_a_bound_as_time_is() -> None:
    entries = ranked(one=quality(0.8, 0.6, 0.4, 0.2))
    # A dollar an hour: 50 s of it.
    best = choose_quality(entries, [CHEAP], Terms(budget_usd=50.0 / 3600.0), LOSS).best
    assert best is not None
    assert best.step == 50.0
    assert best.usd == pytest.approx(50.0 / 3600.0)
    unpriced = [machine for machine in (CHEAP,) if machine.usd_per_hour is None]
    assert choose_quality(entries, unpriced, Terms(budget_usd=1.0), LOSS).best is None


def test_an_overfitted_run_is_ended_at_its_best() -> None:
    entries = ranked(one=quality(0.8, 0.3, 0.5, 0.7))
    best = choose_quality(entries, [CHEAP], Terms(), LOSS).best
    assert best is not None
    assert (best.step, best.estimate.value) == (50.0, 0.3)


def test_the_front_is_that_of_an_exhaustive_search() -> None:
    draws = np.random.default_rng(1)
    for name, sign in (("val_loss", 1.0), ("val_accuracy", -1.0)):
        objective = OBJECTIVES.get(name)
        entries = ranked(
            **{str(i): quality(*draws.uniform(0.1, 0.9, 5).tolist(), name=name) for i in range(4)}  # type: ignore[arg-type]
        )
        found = choose_quality(entries, [CHEAP, QUICK], Terms(), objective)
        points = [
            (p.step * m.step_times[32].seconds, sign * p.estimate.value)
            for e in entries
            for m in (CHEAP, QUICK)
            for p in (e.quality.progress if e.quality else ())
        ]
        expected = {(t, v) for t, v in points if not any((s <= t and w < v) or (s < t and w <= v) for s, w in points)}
        assert {(p.seconds, sign * p.estimate.value) for p in found.front} == expected
        assert len(found.ends) == 8


def test_the_untrusted_are_chosen_only_where_there_is_no_other() -> None:
    doubtful = quality(0.1, status=QualityStatus.UNTRUSTED)
    both = choose_quality(ranked(a=doubtful, b=quality(0.5)), [CHEAP], Terms(), LOSS)
    assert both.best is not None
    assert both.best.estimate.value == 0.5
    assert all(point.trusted for point in both.front)
    alone = choose_quality(ranked(a=doubtful), [CHEAP], Terms(), LOSS)
    assert alone.best is not None
    assert not alone.best.trusted
