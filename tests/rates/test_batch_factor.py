"""Batch-size factors from noisy rates: exact where rates are, near the truth where they are noise."""

from __future__ import annotations

import numpy as np
import pytest

from raytt.rates.batch_factor import ADAPTIVE, PLAIN, batch_factors

SIZES = np.array([8.0, 16.0, 32.0, 64.0])
REFERENCE = 2


def line(slope: float) -> np.ndarray:
    return 1.0 / (1.0 - slope + slope * SIZES[REFERENCE] / SIZES)


@pytest.mark.parametrize("slope", [0.05, 0.4, 0.8])
def test_precise_rates_on_a_line_are_left_as_they_are(slope: float) -> None:
    rates = np.stack([3.0 * line(slope), 2.0 * line(slope)])
    found = batch_factors(SIZES, REFERENCE, rates, 0.001 * rates, ADAPTIVE)
    np.testing.assert_allclose(np.exp(found.logs), [line(slope)] * 2, rtol=0.05)
    np.testing.assert_allclose(found.rates, [3.0, 2.0], rtol=0.05)
    assert found.errors.max() < 0.1
    np.testing.assert_array_equal(found.logs[:, REFERENCE], 0.0)


def test_where_rates_are_noise_the_prior_decides_and_says_how_little_is_known() -> None:
    rates = np.array([[661.0, -55.8, 90.6, 143.0]])
    noise = batch_factors(SIZES, REFERENCE, rates, np.full((1, 4), 1e6), ADAPTIVE)
    np.testing.assert_allclose(np.exp(noise.logs[0]), line(ADAPTIVE.slope), rtol=0.1)
    assert noise.errors[0, 0] > 0.2
    plain = batch_factors(SIZES, REFERENCE, rates, np.full((1, 4), 1e6), PLAIN)
    assert abs(plain.logs[0, 0]) < 0.3


def test_negative_rates_and_unknown_errors_do_no_harm() -> None:
    rates = np.array([[-5.0, -1.0, -2.0, -0.1], [0.0, 0.0, 0.0, 0.0]])
    errors = np.array([[1.0, 1.0, 1.0, 1.0], [np.nan, np.inf, np.nan, np.nan]])
    found = batch_factors(SIZES, REFERENCE, rates, errors, ADAPTIVE)
    assert bool(np.isfinite(found.logs).all())
    assert bool((found.rates > 0.0).all())


def test_drawn_rates_are_told_better_than_each_alone_and_errors_are_honest() -> None:
    generator = np.random.default_rng(0)
    misses, widths, alone = [], [], []
    for _ in range(150):
        slopes = 1.0 / (1.0 + np.exp(-np.cumsum(np.r_[generator.normal(-0.2, 0.8), generator.normal(0.0, 0.5, 4)])))
        true = np.stack([line(s) for s in slopes])
        errors = np.array([0.8, 0.4, 0.2, 0.15]) * np.ones_like(true)
        drawn = true + errors * generator.standard_normal(true.shape)
        found = batch_factors(SIZES, REFERENCE, drawn, errors, ADAPTIVE)
        misses.append(found.logs[:, 0] - np.log(true[:, 0]))
        widths.append(found.errors[:, 0])
        alone.append(np.log(np.maximum(drawn[:, 0], 0.05) / np.maximum(drawn[:, REFERENCE], 0.05)) - np.log(true[:, 0]))
    rms = float(np.sqrt(np.mean(np.square(misses))))
    assert rms < 0.5 * float(np.sqrt(np.mean(np.square(alone))))
    # Standard deviations of the posterior are those of its errors.
    assert rms == pytest.approx(float(np.sqrt(np.mean(np.square(widths)))), rel=0.2)


def test_states_share_what_they_know() -> None:
    rates = np.stack([2.0 * line(0.8), [1.0, -3.0, 2.0, 0.5], 2.0 * line(0.8)])
    errors = np.stack([0.01 * rates[0], np.full(4, 10.0), 0.01 * rates[2]])
    found = batch_factors(SIZES, REFERENCE, rates, errors, ADAPTIVE)
    np.testing.assert_allclose(np.exp(found.logs[1]), line(0.8), rtol=0.25)
    alone = batch_factors(SIZES, REFERENCE, rates[1:2], errors[1:2], ADAPTIVE)
    assert found.errors[1, 0] < alone.errors[0, 0]
