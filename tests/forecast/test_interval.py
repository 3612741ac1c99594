"""The interval around predicted steps: each of its parts alone, by formula."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm, t

from raytt.forecast.interval import interval

STEPS = 99.0  # ln(1 + steps) = ln 100


def test_the_method_alone_gives_normal_quantiles() -> None:
    crossings = np.full(4, STEPS)
    low, high = interval(STEPS, crossings, crossings, sampling_share=0.5, model_spread=0.3)
    reach = norm.ppf(0.95) * 0.3
    assert low == pytest.approx(100.0 * np.exp(-reach) - 1.0)
    assert high == pytest.approx(100.0 * np.exp(reach) - 1.0)


def test_parts_add_in_quadrature() -> None:
    x = np.array([-0.1, 0.0, 0.1])
    crossings = np.expm1(np.log(100.0) + x)
    resampled = np.expm1(np.log(100.0) + x + 0.2)
    _, high = interval(STEPS, crossings, resampled, sampling_share=0.75, model_spread=0.3)
    noise = t.ppf(0.95, 2) ** 2 * ((1 + 1 / 3) * 0.01 + 0.75 * 0.04)
    assert high == pytest.approx(100.0 * np.exp(np.sqrt(noise + (norm.ppf(0.95) * 0.3) ** 2)) - 1.0)


def test_no_upper_end_where_a_path_does_not_arrive_and_none_at_all_with_one_path() -> None:
    crossings = np.array([90.0, STEPS, np.inf])
    low, high = interval(STEPS, crossings, crossings, sampling_share=0.0, model_spread=0.1)
    assert high is None
    assert low is not None
    assert 0.0 < low < STEPS
    assert interval(STEPS, crossings[:1], crossings[:1], sampling_share=0.0, model_spread=0.1) == (None, None)


def test_one_path_takes_the_variance_that_it_is_given() -> None:
    crossing = np.array([STEPS])
    low, high = interval(STEPS, crossing, crossing, sampling_share=0.0, model_spread=0.3, path_variance=0.02)
    # The centre is one draw, real training another.
    reach = norm.ppf(0.95) * np.sqrt(2 * 0.02 + 0.3**2)
    assert low == pytest.approx(100.0 * np.exp(-reach) - 1.0)
    assert high == pytest.approx(100.0 * np.exp(reach) - 1.0)
