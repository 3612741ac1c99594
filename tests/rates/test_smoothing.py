"""The curve behind minibatch losses, and its crossings."""

from __future__ import annotations

import numpy as np

from raytt.rates.smoothing import as_smoothed, first_crossing, first_crossings, sharpened, smoothed


def test_a_straight_line_is_left_as_it_is() -> None:
    line = 3.0 - 0.02 * np.arange(100)
    np.testing.assert_allclose(smoothed(line), line, atol=1e-10)


def test_noise_is_averaged_without_lag() -> None:
    generator = np.random.default_rng(0)
    curve = np.exp(-np.arange(200) / 60)
    found = smoothed(curve + 0.1 * generator.standard_normal(200))
    error = found - curve
    assert np.sqrt(np.mean(error[40:180] ** 2)) < 0.03
    assert abs(error[40:180].mean()) < 0.012


def test_it_is_the_weighted_fit_by_hand() -> None:
    losses = np.random.default_rng(1).random(40)
    offset = np.arange(40) - 30.0
    weight = np.clip(1 - np.abs(offset / 9.0) ** 3, 0, None) ** 3
    slope, value = np.polyfit(offset, losses, 1, w=np.sqrt(weight))
    del slope
    np.testing.assert_allclose(smoothed(losses)[30], value)


def test_a_run_that_breaks_off_is_infinite_from_there() -> None:
    losses = np.array([1.0, 0.9, 0.8, np.nan, 0.7])
    assert list(np.isinf(smoothed(losses))) == [False, False, False, True, True]
    assert len(smoothed(np.array([2.0]))) == 1


def test_crossings_are_interpolated_between_records() -> None:
    steps, curve = np.array([0.0, 10.0, 20.0, 30.0]), np.array([1.0, 0.5, 0.7, 0.1])
    assert first_crossing(steps, curve, 0.75) == 5.0
    assert first_crossing(steps, curve, 0.4) == 25.0
    assert first_crossing(steps, curve, 1.0) == 0.0
    np.testing.assert_array_equal(first_crossings(steps, curve, [0.5, 0.01]), [10.0, np.inf])
    assert first_crossing(steps, np.array([np.inf, 0.5, 0.4, 0.3]), 0.6) == 10.0


def test_expected_curves_are_shown_as_the_smoothing_shows_them() -> None:
    curves = np.stack([2.0 * np.exp(-0.3 * np.arange(200.0)) + 0.1, 3.0 / (1.0 + np.arange(200.0))])
    found = as_smoothed(curves)
    for curve, shown in zip(curves, found, strict=True):
        exact = smoothed(curve)
        np.testing.assert_allclose(shown[:30], exact[:30])
        # Where the window is a share of the steps done, it makes no difference to a power law.
        np.testing.assert_allclose(shown[40:], exact[40:], rtol=0.02)
    assert found[0, 3] > curves[0, 3]


def test_sharpening_takes_back_what_smoothing_lifted() -> None:
    true = 2.0 * np.exp(-0.1 * np.arange(120.0)) + 0.1
    shown = smoothed(true)
    assert np.abs(sharpened(shown) - true)[:10].max() < 0.5 * np.abs(shown - true)[:10].max()
    np.testing.assert_allclose(as_smoothed(sharpened(shown)[None])[0], shown, rtol=0.02)
