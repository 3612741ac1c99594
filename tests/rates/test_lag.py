"""Lags of running statistics along a walk: against the explicit sum, and in closed form at standing weights."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from raytt.rates.lag import SHARES, LagTable

Floats = NDArray[np.float64]
TIMES = np.array([0.0, 1.0, 3.0])


def table(momentum: float = 0.1) -> LagTable:
    rows = np.random.default_rng(0).normal(size=(4, 6))
    quality = {"val_loss": np.arange(12.0).reshape(3, 4) + 1.0}
    return LagTable(times=TIMES, gram=rows @ rows.T, momentum=momentum, quality=quality)


def coefficients(place: float) -> Floats:
    found = np.zeros(4)
    found[1:] = [np.interp(place, TIMES, unit) for unit in np.eye(3)]
    return found


@pytest.mark.parametrize("updates", [1, 3])
def test_lags_are_those_of_the_explicit_mixture(updates: int) -> None:
    places = np.linspace(0.0, 3.5, 30)[None] ** np.array([[1.0], [0.5]])
    own = table()
    found = own.lags(places, updates=[updates, updates])
    keep = 0.9**updates
    pre = np.eye(4)[0]
    for walk, lags in zip(places, found, strict=True):
        for t in range(len(walk)):
            mixture = keep**t * pre
            for u in range(t):
                mixture = mixture + (1.0 - keep) * keep ** (t - 1 - u) * coefficients(walk[u])
            line = pre - coefficients(walk[t])
            share = line @ own.gram @ (mixture - coefficients(walk[t])) / (line @ own.gram @ line)
            assert lags[t] == pytest.approx(np.clip(share, 0.0, 1.0), abs=1e-9)


def test_at_standing_weights_the_lag_decays_with_the_momentum() -> None:
    places = np.zeros((1, 50))
    np.testing.assert_allclose(table(0.05).lags(places)[0], 0.95 ** np.arange(50))
    # A cumulative average forgets the first statistics as 1/(t + 1).
    np.testing.assert_allclose(table(0.0).lags(places)[0], 1.0 / (1.0 + np.arange(50)))


def test_quality_is_bilinear_between_what_was_measured() -> None:
    own = table()
    for row, time in enumerate(TIMES):
        for column, share in enumerate(SHARES):
            assert own.read("val_loss", np.array([time]), np.array([share]))[0] == 1.0 + 4 * row + column
    # 1 + 4 · (row) + (column) is linear in both numbers.
    assert own.read("val_loss", np.array([2.0]), np.array([0.5]))[0] == pytest.approx(1.0 + 4 * 1.5 + 1.5)
    assert own.read("val_loss", np.array([9.0]), np.array([1.0]))[0] == 12.0


def test_it_survives_its_json() -> None:
    one = table()
    again = LagTable.from_json(one.to_json())
    np.testing.assert_array_equal(again.gram, one.gram)
    places = np.linspace(0.0, 3.0, 9)[None]
    np.testing.assert_array_equal(again.lags(places), one.lags(places))
