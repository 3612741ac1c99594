"""Decisions on hand-made forecasts and machines, held against closed forms and an exhaustive search."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raytt.forecast.forecast import Forecast, Status
from raytt.pricing.machine import Machine
from raytt.pricing.quote import Quote
from raytt.pricing.step_time import StepTime
from raytt.pricing.terms import Terms
from raytt.results.decisions import TrainingPlan, decide
from raytt.results.entry import Entry, rank_candidates
from raytt.task.candidate import Candidate
from tests.support.fakes import STEP_TIMES

Z = 1.6448536269514722


def entries(*steps: float | None, trusted: tuple[bool, ...] = ()) -> tuple[Entry, ...]:
    """Candidates of one batch size that take so many steps; None for one that misses the target."""
    forecasts = [
        Forecast(status=Status.NOT_REACHED, steps=None)
        if s is None
        else Forecast(
            status=Status.REACHED if not trusted or trusted[i] else Status.UNTRUSTED,
            steps=s,
            low=0.8 * s,
            high=1.25 * s,
        )
        for i, s in enumerate(steps)
    ]
    return rank_candidates(
        [Candidate(lr=0.1 * (i + 1)) for i in range(len(steps))],
        forecasts,
        budgets=[10_000] * len(steps),
        step_times=STEP_TIMES,
        num_samples_full=1000,
    )


def machine(name: str, seconds: float, usd_per_hour: float | None, spread: float = 1.0) -> Machine:
    time = StepTime(batch_size=32, seconds=seconds, low=seconds / spread, high=seconds * spread, source="made up")
    return Machine(
        name=name, accelerator="", gpus=1, instances=1, usd_per_hour=usd_per_hour, as_of=None, step_times={32: time}
    )


CHEAP = machine("cheap", 1.0, 1.0)
QUICK = machine("quick", 0.1, 36.0)


def test_cheapest_and_fastest_without_any_bound() -> None:
    found = decide(entries(100, 200), [CHEAP, QUICK], Terms())
    assert len(found.plans) == 4
    assert found.cheapest is not None
    assert found.fastest is not None
    assert (found.cheapest.machine.name, found.cheapest.entry.rank) == ("cheap", 1)
    assert (found.fastest.machine.name, found.fastest.entry.rank) == ("quick", 1)
    assert found.cheapest.usd == pytest.approx(100 / 3600)
    assert found.fastest.usd == pytest.approx(10 / 100)
    assert [p.machine.name for p in found.front] == ["quick", "cheap"]
    assert (found.tries, found.remedies) == (None, ())


def test_a_deadline_forces_the_quick_machine_and_a_budget_the_cheap_one() -> None:
    by_deadline = decide(entries(100), [CHEAP, QUICK], Terms(deadline=50.0))
    assert by_deadline.cheapest is not None
    assert by_deadline.cheapest.machine.name == "quick"
    by_budget = decide(entries(100), [CHEAP, QUICK], Terms(budget_usd=0.05))
    assert by_budget.fastest is not None
    assert by_budget.fastest.machine.name == "cheap"


def test_exactly_the_median_cost_is_enough() -> None:
    usd = 100 / 3600
    assert decide(entries(100), [CHEAP], Terms(budget_usd=usd)).fits
    assert not decide(entries(100), [CHEAP], Terms(budget_usd=usd * 0.999)).fits


def test_confidence_asks_for_more_than_the_median() -> None:
    # 95 % of runs end by the upper end of the 90 % interval.
    sure = Terms(deadline=125.0, confidence=0.95)
    assert decide(entries(100), [CHEAP], replace(sure, confidence=0.9499)).fits
    assert not decide(entries(100), [CHEAP], replace(sure, confidence=0.9501)).fits


def plan(seconds: float, low: float | None, high: float | None, usd_per_hour: float | None = 3.6) -> TrainingPlan:
    (entry,) = entries(100)
    return TrainingPlan(
        entry=entry, machine=machine("m", 1.0, usd_per_hour), quote=Quote(seconds=seconds, low=low, high=high)
    )


def test_probabilities_of_a_two_piece_log_normal() -> None:
    p = plan(100.0, 50.0, 400.0)
    assert p.probability(50.0) == pytest.approx(0.05)
    assert p.probability(100.0) == pytest.approx(0.5)
    assert p.probability(400.0) == pytest.approx(0.95)
    # One standard deviation above: ln(400/100)/z.
    assert p.probability(100.0 * math.exp(math.log(4) / Z)) == pytest.approx(0.8413447, abs=1e-6)
    assert p.probability(0.0) == 0.0
    assert p.probability(math.inf) == 1.0


@settings(max_examples=50, deadline=None)
@given(st.floats(0.01, 0.99))
def test_quantiles_undo_probabilities(probability: float) -> None:
    p = plan(100.0, 50.0, 400.0)
    assert p.probability(p.quantile(probability)) == pytest.approx(probability, abs=1e-9)


def test_probability_agrees_with_a_simulation() -> None:
    rng = np.random.default_rng(0)
    normal = rng.standard_normal(200_000)
    times = 100.0 * np.exp(np.where(normal < 0, normal * math.log(2) / Z, normal * math.log(4) / Z))
    for bound in (60.0, 90.0, 150.0, 300.0):
        assert plan(100.0, 50.0, 400.0).probability(bound) == pytest.approx((times <= bound).mean(), abs=0.005)


def test_intervals_that_are_not_known() -> None:
    open_end = plan(100.0, 50.0, None)
    assert open_end.probability(50.0) == pytest.approx(0.05)
    assert open_end.probability(1e9) == 0.5
    assert open_end.quantile(0.9) == math.inf
    no_spread = plan(100.0, None, None)
    assert [no_spread.probability(b) for b in (99.9, 100.0, 100.1)] == [0.0, 1.0, 1.0]
    assert plan(0.0, 0.0, 0.0).probability(1e-9) == 1.0


def test_budget_and_deadline_are_one_bound() -> None:
    p = plan(100.0, 50.0, 400.0, usd_per_hour=3.6)
    # A dollar pays for 1,000 s.
    assert p.bound(budget_usd=1.0) == pytest.approx(1000.0)
    assert p.bound(budget_usd=1.0, deadline=200.0) == 200.0
    assert p.bound(budget_usd=0.1, deadline=200.0) == pytest.approx(100.0)
    assert p.bound() == math.inf
    assert plan(100.0, 50.0, 400.0, usd_per_hour=None).bound(budget_usd=1.0) == math.inf


def test_untrusted_forecasts_are_taken_only_if_nothing_else_fits() -> None:
    pair = entries(200, 100, trusted=(True, False))
    found = decide(pair, [CHEAP], Terms(deadline=250.0))
    assert found.cheapest is not None
    assert found.cheapest.entry.forecast.status is Status.REACHED
    assert all(p.trusted for p in found.front)
    tight = decide(pair, [CHEAP], Terms(deadline=150.0))
    assert tight.cheapest is not None
    assert tight.cheapest.entry.forecast.status is Status.UNTRUSTED


def test_how_many_of_the_best_can_be_tried() -> None:
    # 100, 200 and 300 s at a dollar an hour, in the order of the ranking.
    three = entries(100, 200, 300)
    found = decide(three, [CHEAP, QUICK], Terms(budget_usd=300 / 3600))
    assert (found.tries, found.tries_seconds) == (2, 300.0)
    assert found.tries_usd == pytest.approx(300 / 3600)
    assert decide(three, [CHEAP], Terms(budget_usd=299 / 3600)).tries == 1
    assert decide(three, [CHEAP], Terms(deadline=600.0)).tries == 3
    assert decide(three, [CHEAP], Terms(deadline=99.0)).tries == 0


def test_nothing_fits_and_what_would() -> None:
    both = decide(entries(100, 200), [CHEAP, QUICK], Terms(budget_usd=0.05, deadline=50.0))
    assert not both.fits
    longer, dearer = both.remedies
    assert (longer.deadline, longer.budget_usd, longer.plan.machine.name) == (100.0, None, "cheap")
    assert longer.deadline is not None
    assert dearer.budget_usd == pytest.approx(0.1)
    assert (dearer.deadline, dearer.plan.machine.name) == (None, "quick")
    # What a remedy asks for does fit.
    assert decide(entries(100, 200), [CHEAP, QUICK], Terms(budget_usd=0.05, deadline=longer.deadline)).fits
    assert decide(entries(100, 200), [CHEAP, QUICK], Terms(budget_usd=dearer.budget_usd, deadline=50.0)).fits


def test_both_must_give_way_where_neither_alone_is_enough() -> None:
    found = decide(entries(100), [CHEAP], Terms(budget_usd=0.001, deadline=1.0))
    (remedy,) = found.remedies
    assert (remedy.deadline, remedy.budget_usd) == (100.0, pytest.approx(100 / 3600))


def test_nothing_reaches_the_target() -> None:
    found = decide(entries(None, None), [CHEAP], Terms(budget_usd=1.0))
    assert (found.plans, found.cheapest, found.remedies, found.tries) == ((), None, (), 0)


def test_a_budget_without_a_price() -> None:
    found = decide(entries(100), [machine("m", 1.0, None)], Terms(budget_usd=1.0))
    assert not found.fits
    assert found.remedies == ()
    assert decide(entries(100), [machine("m", 1.0, None)], Terms(deadline=100.0)).fits


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(st.floats(1.0, 1e4), min_size=1, max_size=5),
    prices=st.lists(st.tuples(st.floats(0.01, 10.0), st.floats(0.1, 100.0)), min_size=1, max_size=4),
    budget=st.floats(0.001, 10.0),
    deadline=st.floats(1.0, 1e5),
)
def test_choices_agree_with_trying_everything(
    steps: list[float], prices: list[tuple[float, float]], budget: float, deadline: float
) -> None:
    pool = [machine(str(i), seconds, usd) for i, (seconds, usd) in enumerate(prices)]
    found = decide(entries(*steps), pool, Terms(budget_usd=budget, deadline=deadline))
    costs = [(p.seconds, p.usd or 0.0) for p in found.plans]
    assert len(costs) == len(steps) * len(prices)
    fitting = [(t, c) for t, c in costs if t <= deadline and c <= budget]
    assert found.fits == bool(fitting)
    if found.cheapest is not None and found.fastest is not None:
        assert found.cheapest.usd == pytest.approx(min(c for _, c in fitting))
        assert found.fastest.seconds == pytest.approx(min(t for t, _ in fitting))
    # The front by definition: nothing is at least as good in both and better in one.
    best = {(t, c) for t, c in costs if not any((a <= t and b < c) or (a < t and b <= c) for a, b in costs)}
    assert {(p.seconds, p.usd) for p in found.front} == best
    # Every remedy keeps its promise.
    for remedy in found.remedies:
        eased = Terms(budget_usd=remedy.budget_usd or budget, deadline=remedy.deadline or deadline)
        assert decide(entries(*steps), pool, eased).fits
