"""Pooling of noisy rates."""

from __future__ import annotations

import numpy as np

from raytt.rates.pooling import fit_inverse_line, smooth_over_points

SIZES = np.array([8.0, 16.0, 32.0, 64.0])


def test_rates_on_the_line_are_left_as_they_are() -> None:
    rates = 1.0 / (0.3 + 20.0 / SIZES)
    np.testing.assert_allclose(fit_inverse_line(SIZES, rates, 0.05 * rates), rates, rtol=1e-6)


def test_the_fit_is_better_than_each_rate_alone_even_where_some_are_negative() -> None:
    rates = 1.0 / (0.3 + 20.0 / SIZES)
    errors = np.array([0.6, 0.5, 0.3, 0.1]) * rates[2]
    generator = np.random.default_rng(0)
    draws = rates + errors * generator.standard_normal((200, 4))
    assert bool((draws < 0).any())
    fits = np.stack([fit_inverse_line(SIZES, draw, errors) for draw in draws])
    assert bool((fits > 0).all())
    assert bool(np.isfinite(fits).all())
    rms = [np.sqrt(np.mean((x[:, 0] - rates[0]) ** 2)) for x in (fits, draws)]
    assert rms[0] < 0.7 * rms[1]


def test_decreasing_rates_become_equal_ones() -> None:
    found = fit_inverse_line(SIZES, np.array([4.0, 3.0, 2.0, 1.0]), np.ones(4))
    np.testing.assert_allclose(found, found[0], rtol=1e-6)
    np.testing.assert_allclose(found[0], 2.5, rtol=1e-3)


def test_neighbouring_points_share_what_they_know() -> None:
    ratios = np.array([[0.0], [np.nan], [1.0], [1.0]])
    errors = np.array([[0.1], [np.nan], [0.1], [0.1]])
    found = smooth_over_points(ratios, errors)[:, 0]
    np.testing.assert_allclose(found[0], 0.0, atol=1e-4)
    np.testing.assert_allclose(found[1], 0.5, atol=1e-4)
    np.testing.assert_allclose(found[2:], 1.0, atol=1e-4)
    # The more precise of two neighbours counts for more.
    skewed = smooth_over_points(np.array([[0.0], [1.0]]), np.array([[0.1], [1.0]]))[:, 0]
    assert skewed[1] < 0.05
