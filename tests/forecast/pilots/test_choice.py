"""Which pilots are chosen, against sampling and cases with a known answer."""

from __future__ import annotations

import math

import numpy as np
import pytest

from raytt.forecast.pilots.choice import NOISE, Beliefs, choose_pilots


def beliefs(costs: list[float], spreads: list[float], correlation: float = 0.0) -> Beliefs:
    s = np.array(spreads)
    same = np.full((len(s), len(s)), correlation)
    np.fill_diagonal(same, 1.0)
    return Beliefs(mean=np.log(costs), covariance=same * np.outer(s, s))


def test_savings_and_regret_are_those_of_sampled_costs() -> None:
    given = beliefs([1.0, 1.1, 1.05], [0.1, 0.4, 0.3], 0.3)
    rng = np.random.default_rng(0)
    z = rng.multivariate_normal(given.mean, given.covariance, size=400_000)
    now = float(np.exp(z).mean(axis=0).min())
    assert given.regret() == pytest.approx(1.0 - float(np.exp(z).min(axis=1).mean()) / now, abs=0.01)
    # Nested: what is expected of all, given a noisy look at the second, by regression in small bins of what was seen.
    seen = z[:, 1] + NOISE * rng.normal(size=len(z))
    bins = np.array_split(np.argsort(seen), 400)
    told = float(np.mean([np.exp(z[b]).mean(axis=0).min() for b in bins]))
    assert given.savings(1) == pytest.approx(now - told, abs=0.004)
    assert given.savings(1) > 0.02


def test_there_is_nothing_to_save_where_the_choice_is_clear() -> None:
    clear = beliefs([1.0, 30.0], [0.1, 0.1])
    assert (clear.savings(0), clear.savings(1)) == (0.0, 0.0)
    assert clear.regret() < 1e-3
    assert clear.could_be_best().tolist() == [True, False]


def test_what_is_shared_by_all_does_not_put_the_choice_in_doubt() -> None:
    together = beliefs([1.0, 1.2], [0.5, 0.5], 1.0)
    apart = beliefs([1.0, 1.2], [0.5, 0.5], 0.0)
    assert together.regret() < 1e-6 < apart.regret()


def test_the_doubtful_rival_is_the_pilot_unless_it_costs_too_much() -> None:
    given = beliefs([1.0, 1.05, 1.06], [0.02, 0.4, 0.2])
    assert choose_pilots(given, np.ones(3), count=1) == [1]
    assert choose_pilots(given, np.array([1.0, 50.0, 1.0]), count=1) == [2]


def test_a_round_takes_the_first_result_as_expected() -> None:
    # The first two are one thing seen twice: the second of them says nothing new.
    covariance = np.array([[0.16, 0.16, 0.0], [0.16, 0.16, 0.0], [0.0, 0.0, 0.09]])
    given = Beliefs(mean=np.log([1.0, 1.0, 1.0]), covariance=covariance)
    assert choose_pilots(given, np.ones(3), count=2) == [0, 2]
    after = given.after(0)
    assert after.covariance[1, 1] == pytest.approx(0.16 - 0.16**2 / (0.16 + NOISE**2))
    np.testing.assert_array_equal(after.mean, given.mean)


def test_those_that_were_pilots_are_not_chosen_again() -> None:
    given = beliefs([1.0, 1.1, 1.2], [0.3, 0.3, 0.3])
    assert set(choose_pilots(given, np.ones(3), count=3, done=[1])) == {0, 2}
    assert choose_pilots(given, np.ones(3), count=2, done=[0, 1, 2]) == []


def test_once_no_rival_is_left_those_that_tell_most_of_all_come_next() -> None:
    given = beliefs([1.0, 50.0, 60.0], [0.05, 0.1, 0.6])
    assert choose_pilots(given, np.ones(3), count=2) == [0, 2]


def test_order_does_not_depend_on_the_unit_of_cost() -> None:
    rng = np.random.default_rng(7)
    root = rng.normal(size=(6, 6)) * 0.2
    one = Beliefs(mean=rng.normal(size=6) * 0.1, covariance=root @ root.T)
    other = Beliefs(mean=one.mean + math.log(3600.0), covariance=one.covariance)
    costs = np.exp(one.mean)
    assert choose_pilots(one, costs, count=4) == choose_pilots(other, 3600.0 * costs, count=4)
    assert one.regret() == pytest.approx(other.regret())
