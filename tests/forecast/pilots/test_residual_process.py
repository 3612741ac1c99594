"""What pilots say of other candidates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from raytt.forecast.pilots.residual_prior import DEPTH_LENGTH, RATES, ResidualPrior
from raytt.forecast.pilots.residual_process import ResidualProcess
from raytt.forecast.pilots.residuals import Residual
from raytt.task.candidate import Candidate

LRS = (0.001, 0.003, 0.01, 0.03, 0.1)
CANDIDATES = [Candidate(lr=lr) for lr in LRS]


def process(seen: Mapping[int, Sequence[tuple[float, float]]], prior: ResidualPrior = RATES) -> ResidualProcess:
    """Pilots by number, each with depths and residuals of noise 0.05."""
    return ResidualProcess(
        prior=prior,
        budgets=dict.fromkeys(CANDIDATES, 100),
        observed={
            CANDIDATES[n]: [Residual(depth=depth, value=value, noise=0.05) for depth, value in rows]
            for n, rows in seen.items()
        },
    )


def test_without_pilots_it_is_the_prior() -> None:
    mean, covariance = process({}).predict(CANDIDATES, 1.0)
    assert mean.tolist() == [0.0] * 5
    np.testing.assert_allclose(np.sqrt(np.diag(covariance)), RATES.spread)
    assert process({}).left_out() == {}


def test_one_pilot_has_a_closed_form() -> None:
    found = process({2: [(1.0, 0.1)]})
    mean, covariance = found.predict(CANDIDATES, 1.0)
    assert found.amplitude == 1.0
    total = RATES.spread**2 + 0.05**2
    near = RATES.common**2 + RATES.smooth**2 * math.exp(-0.5 * (math.log(0.03 / 0.01) / 1.4) ** 2)
    assert mean[2] == pytest.approx(RATES.spread**2 / total * 0.1)
    assert mean[3] == pytest.approx(near / total * 0.1)
    assert covariance[3, 3] == pytest.approx(RATES.spread**2 - near**2 / total)
    # Less is known the further away, and most of the pilot itself.
    spread = np.sqrt(np.diag(covariance))
    assert spread[2] < spread[3] < spread[4] < RATES.spread


def test_below_the_deepest_level_the_residual_fades_and_its_variance_grows() -> None:
    prior = ResidualPrior(common=1e-6, smooth=0.15, own=1e-6)
    found = process({2: [(0.5, 0.12)]}, prior)
    means, spreads = [], []
    for depth in (0.5, 1.0, 1.5):
        mean, covariance = found.predict([CANDIDATES[2]], depth)
        means.append(float(mean[0]))
        spreads.append(float(covariance[0, 0]))
    assert means[1] / means[0] == pytest.approx(math.exp(-0.5 / DEPTH_LENGTH))
    assert means[2] / means[1] == pytest.approx(math.exp(-0.5 / DEPTH_LENGTH))
    assert spreads == sorted(spreads)


def test_large_residuals_raise_the_amplitude_and_small_ones_do_not_lower_it() -> None:
    assert process({n: [(1.0, 0.0)] for n in range(4)}).amplitude == 1.0
    wild = process({n: [(1.0, y)] for n, y in enumerate((0.6, -0.5, 0.7, -0.8))})
    assert wild.amplitude > 1.8
    spread = wild.predict([CANDIDATES[4]], 1.0)[1][0, 0]
    assert spread > process({n: [(1.0, 0.0)] for n in range(4)}).predict([CANDIDATES[4]], 1.0)[1][0, 0]


def test_pilots_left_out_are_predicted_from_the_others_alone() -> None:
    seen = {0: [(0.5, 0.02), (1.0, 0.05)], 2: [(1.0, 0.1)], 4: [(0.5, 0.0), (1.0, -0.04)]}
    whole = process(seen)
    for number in seen:
        error, density = whole.left_out()[CANDIDATES[number]]
        rest = process({n: rows for n, rows in seen.items() if n != number})
        assert rest.amplitude == whole.amplitude
        mean, covariance = rest.predict([CANDIDATES[number]], 1.0)
        assert error == pytest.approx(seen[number][-1][1] - mean[0], abs=1e-10)
        variance = covariance[0, 0] + 0.05**2
        assert density == pytest.approx(-0.5 * error**2 / variance - 0.5 * math.log(2 * math.pi * variance))


def test_the_order_of_pilots_does_not_matter() -> None:
    seen = {0: [(1.0, 0.1)], 3: [(1.0, -0.2)], 4: [(0.5, 0.3)]}
    one = process(seen).predict(CANDIDATES, 1.0)
    other = process(dict(reversed(seen.items()))).predict(CANDIDATES, 1.0)
    assert [a.tobytes() for a in one] == [a.tobytes() for a in other]
