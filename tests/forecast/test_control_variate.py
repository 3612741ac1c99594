from __future__ import annotations

import numpy as np
import pytest

from raytt.forecast.control_variate import (
    LATER,
    MOST_NOISE,
    NOISE,
    NOISE_BEYOND,
    SOONER,
    WIDEST,
    Correction,
    exponent_of,
    first_crossings,
    relative_noise,
)
from raytt.task.candidate import Candidate

STEPS = np.arange(0.0, 201.0)


def test_crossings_of_an_exponential_are_exact_between_records() -> None:
    curve = 3.0 * np.exp(-0.03 * STEPS[::7])
    found = first_crossings(STEPS[::7], curve[None], np.array([0.5, 0.1, 1e-4]))
    np.testing.assert_allclose(found[0, :2], np.log([2.0, 10.0]) / 0.03, rtol=1e-12)
    assert found[0, 2] == np.inf


def test_the_first_crossing_counts_even_if_the_loss_climbs_again() -> None:
    curve = np.array([[1.0, 0.4, 0.9, 0.2]])
    found = first_crossings(np.array([0.0, 1.0, 2.0, 3.0]), curve, np.array([0.5, 0.3]))
    assert found[0, 0] == pytest.approx(np.log(2.0) / np.log(2.5))
    assert 2.0 < found[0, 1] < 3.0


def test_a_simulation_that_is_uniformly_slow_is_mended_exactly() -> None:
    """Real training goes like exp(−0.04 t), its simulation like exp(−0.03 t): c = 3/4 up to the one step in it."""
    real, simulated = np.exp(-0.04 * STEPS), np.exp(-0.03 * STEPS)
    correction = Correction.measure(STEPS, real, STEPS, np.stack([simulated] * 3))
    late = correction.ratios < 0.2
    np.testing.assert_allclose(correction.factors[late], 0.75, rtol=0.01)
    # A candidate at half the pace (and no deeper than the reference), with the same error in its simulation.
    times = correction.apply(STEPS, np.stack([np.exp(-0.015 * STEPS)] * 2))
    crossing = np.interp(np.log(10.0), 0.015 * STEPS, times)
    assert crossing == pytest.approx(np.log(10.0) / 0.02, rel=0.01)


def test_factors_follow_the_loss_ratio_not_the_time() -> None:
    ratios = np.array([0.9, 0.5, 0.1])
    correction = Correction(ratios=ratios, factors=np.array([1.0, 2.0, 3.0]))
    times = correction.apply(np.array([0.0, 10.0, 20.0]), np.array([[2.0, 1.0, 0.02]]))
    np.testing.assert_allclose(times, [0.0, 20.0, 60.0])


def test_corrected_times_never_run_backwards() -> None:
    correction = Correction(ratios=np.array([0.9, 0.1]), factors=np.array([2.0, 0.5]))
    times = correction.apply(STEPS, np.exp(-0.05 * STEPS)[None])
    assert (np.diff(times) >= 0).all()


def test_absurd_corrections_are_cut_off_and_unreached_ratios_left_out() -> None:
    real, simulated = np.exp(-0.2 * STEPS), np.exp(-0.002 * STEPS)
    correction = Correction.measure(STEPS, real, STEPS, simulated[None])
    assert correction.factors.min() >= 1.0 / WIDEST
    assert correction.ratios.min() >= simulated[-1]


def test_without_a_common_ratio_there_is_no_correction() -> None:
    flat = np.ones_like(STEPS)
    times = Correction.measure(STEPS, np.exp(-0.1 * STEPS), STEPS, flat[None]).apply(STEPS, flat[None])
    np.testing.assert_array_equal(times, STEPS)


def test_below_the_end_of_the_reference_run_real_training_is_sooner() -> None:
    """A perfect simulation of exp(−0.03 t), of which the reference run saw the first 30 steps."""
    curve = np.exp(-0.03 * STEPS)
    correction = Correction.measure(STEPS[:31], curve[:31], STEPS, curve[None])
    times = correction.apply(STEPS, curve[None])
    np.testing.assert_allclose(times[:31], STEPS[:31], rtol=1e-6)
    depth = 0.03 * (STEPS[31:] - 30)
    np.testing.assert_allclose(times[31:], STEPS[31:] * np.exp(-SOONER * depth), rtol=1e-6)


def test_less_noise_than_the_reference_is_sooner_and_more_so_beyond_its_end() -> None:
    curve, reference = np.exp(-0.03 * STEPS), Candidate(lr=0.01, momentum=0.9, batch_size=32)
    correction = Correction.measure(STEPS[:31], curve[:31], STEPS, curve[None], exponent=0.0)
    depth = np.maximum(0.0, 0.03 * (STEPS - 30))
    for candidate, noise in (
        (Candidate(lr=0.1, batch_size=32), 0.0),
        (Candidate(lr=0.05, batch_size=32), -np.log(2.0)),
        (Candidate(lr=0.1, batch_size=128), -np.log(4.0)),
        (Candidate(lr=0.02, momentum=0.9, batch_size=16), np.log(4.0)),
        (Candidate(lr=1e-6, batch_size=32), -np.log(MOST_NOISE)),
    ):
        assert relative_noise(candidate, reference) == pytest.approx(noise)
        times = correction.of(candidate, reference).apply(STEPS, curve[None])
        np.testing.assert_allclose(times, STEPS * np.exp((NOISE + NOISE_BEYOND * depth) * noise), rtol=1e-6)


def test_a_subsample_is_learned_by_heart_too_soon_beyond_the_reference() -> None:
    curve = np.exp(-0.03 * STEPS)
    correction = Correction.measure(STEPS[:31], curve[:31], STEPS, curve[None], exponent=-LATER)
    depth = np.maximum(0.0, 0.03 * (STEPS - 30))
    np.testing.assert_allclose(correction.apply(STEPS, curve[None]), STEPS * np.exp(LATER * depth), rtol=1e-6)


@pytest.mark.parametrize(
    ("features_move", "all_samples", "lifts", "exponent"),
    [
        (True, True, False, SOONER),
        (False, True, False, 0.0),
        (True, False, False, -LATER),
        (False, False, False, -LATER),
        (True, False, True, 0.0),
    ],
)
def test_what_is_expected_below_the_end(features_move: bool, all_samples: bool, lifts: bool, exponent: float) -> None:
    assert exponent_of(features_move=features_move, all_samples=all_samples, lifts=lifts) == exponent
