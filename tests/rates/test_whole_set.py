"""A curve on a part of a set, corrected to the whole."""

from __future__ import annotations

import numpy as np

from raytt.rates.whole_set import on_the_whole


def test_a_part_that_is_off_by_a_constant_factor_is_mended_everywhere() -> None:
    steps, part = [0, 1, 4, 20], np.array([2.0, 1.5, 1.0, 0.5])
    found = on_the_whole(steps, {"val_loss": part}, {4: {"val_loss": 1.1}})["val_loss"]
    np.testing.assert_allclose(found, 1.1 * part)


def test_the_correction_is_linear_in_the_logarithm_of_steps_and_exact_where_known() -> None:
    steps, part = [0, 3, 15], np.array([1.0, 1.0, 1.0])
    whole = {0: {"val_loss": 1.0}, 15: {"val_loss": 1.44}}
    found = on_the_whole(steps, {"val_loss": part}, whole)["val_loss"]
    # ln 4 is half of ln 16.
    np.testing.assert_allclose(found, [1.0, 1.2, 1.44])


def test_accuracies_are_corrected_by_differences_and_stay_in_bounds() -> None:
    steps, part = [0, 3, 15], np.array([0.0, 0.5, 0.97])
    found = on_the_whole(steps, {"val_accuracy": part}, {3: {"val_accuracy": 0.55}})["val_accuracy"]
    np.testing.assert_allclose(found, [0.05, 0.55, 1.0])


def test_losses_below_zero_and_beyond_bounds_leave_the_others_finite() -> None:
    steps, part = [0, 3, 15], np.array([-1.0, np.inf, -3.0])
    found = on_the_whole(steps, {"val_loss": part}, {0: {"val_loss": -1.5}, 3: {"val_loss": np.inf}})["val_loss"]
    np.testing.assert_allclose(found, [-1.5, np.inf, -3.0])


def test_nothing_known_changes_nothing() -> None:
    part = {"val_loss": np.array([1.0, 0.5])}
    assert on_the_whole([0, 1], part, {})["val_loss"] is part["val_loss"]
