"""Quality along a reference's path."""

from __future__ import annotations

import numpy as np

from raytt.rates.lag import LagTable
from raytt.rates.quality import QualityPath

TIMES = 0.1 * np.arange(31)
STEPS = (0, 1, 3, 7, 15, 30)
CURVES = {
    "val_loss": np.array([2.0, 1.9, 1.5, 1.1, 0.7, 0.6]),
    "val_accuracy": np.array([0.1, 0.2, 0.4, 0.6, 0.8, 0.9]),
}


def lag_table() -> LagTable:
    # Statistics that move along a line.
    rows = np.array([[4.0], [3.0], [1.5], [0.0]])
    losses = np.array([[2.0, 2.0, 2.1, 2.2], [0.8, 0.9, 1.2, 1.6], [0.5, 0.6, 1.0, 1.5]])
    return LagTable(
        times=np.array([0.0, 1.5, 3.0]),
        gram=rows @ rows.T,
        momentum=0.1,
        quality={"val_loss": losses, "val_accuracy": 1.0 - 0.4 * losses},
    )


def test_the_reference_is_predicted_as_it_was_measured() -> None:
    for lag in (None, lag_table()):
        found = QualityPath(times=TIMES, steps=STEPS, curves=CURVES, lag=lag).predicted(TIMES[None])
        for name, curve in CURVES.items():
            np.testing.assert_allclose(found[name][0][list(STEPS)], curve)


def test_between_evaluations_losses_are_linear_in_their_logarithm_and_accuracies_plain() -> None:
    found = QualityPath(times=TIMES, steps=STEPS, curves=CURVES).predicted(np.array([[0.2]]))
    np.testing.assert_allclose(found["val_loss"], np.sqrt(1.9 * 1.5))
    np.testing.assert_allclose(found["val_accuracy"], 0.3)


def test_who_gets_to_a_place_in_fewer_steps_has_older_statistics_and_a_higher_loss() -> None:
    path = QualityPath(times=TIMES, steps=STEPS, curves=CURVES, lag=lag_table())
    fast = np.linspace(0.0, 3.0, 7)[None]
    slow = np.linspace(0.0, 3.0, 121)[None]
    ends = [path.predicted(places)["val_loss"][0, -1] for places in (fast, TIMES[None], slow)]
    assert ends[0] > ends[1] > ends[2]
    accuracies = [path.predicted(places)["val_accuracy"][0, -1] for places in (fast, TIMES[None], slow)]
    assert accuracies[0] < accuracies[1] < accuracies[2]
    # With settled statistics how fast it was makes no difference.
    assert path.settled("val_loss", fast)[0, -1] == path.settled("val_loss", slow)[0, -1]
    assert path.settled("val_loss", slow)[0, -1] <= ends[2]


def test_accuracies_stay_between_nothing_and_all() -> None:
    lag = lag_table()
    lag.quality["val_accuracy"][:] = [[-5.0, 0.0, 1.0, 5.0]] * 3
    path = QualityPath(times=TIMES, steps=STEPS, curves=CURVES, lag=lag)
    found = path.predicted(np.linspace(0.0, 3.0, 4)[None])["val_accuracy"]
    assert found.min() >= 0.0
    assert found.max() <= 1.0


def decaying(exponent: float = 1.0) -> QualityPath:
    """Ln loss = 1/τ − 1 and errors ∝ loss^γ at places in ratios of 1.4."""
    steps = (0, *np.unique(np.round(np.geomspace(1, 400, 20)).astype(int)).tolist())
    times = 0.01 * np.arange(401)
    at = np.maximum(times[list(steps)], 1e-3)
    losses = np.exp(np.minimum(1.0 / at, 3.0) - 1.0)
    return QualityPath(
        times=times, steps=steps, curves={"val_loss": losses, "val_accuracy": 1.0 - 0.1 * losses**exponent}
    )


def test_beyond_the_end_the_trend_goes_on_and_ends() -> None:
    path = decaying()
    end = path.times[-1]
    # d ln loss / d ln τ = −1/τ, near the end; what is fitted over the tail is steeper.
    assert -2.5 / end < path.trend("val_loss") < -1.0 / end
    places = end * np.array([0.5, 1.0, 2.0, 1e6])
    values = path.predicted(places[None])["val_loss"][0]
    found = path.extended("val_loss", values, places)
    np.testing.assert_allclose(found[:2], values[:2])
    np.testing.assert_allclose(np.log(found[2] / found[1]), 0.5 * path.trend("val_loss"))
    np.testing.assert_allclose(np.log(found[3] / found[1]), path.trend("val_loss"), rtol=1e-5)
    np.testing.assert_allclose(path.beyond(places), np.log([1.0, 1.0, 2.0, 1e6]))


def test_a_trend_that_is_noise_is_none() -> None:
    path = decaying()
    # Up and down by the same: the slope is far below its standard error.
    noisy = np.exp(0.3 * (-1.0) ** np.arange(len(path.steps)))
    flat = QualityPath(times=path.times, steps=path.steps, curves={"val_loss": noisy})
    assert flat.trend("val_loss") == 0.0
    assert path.trend("val_loss") != 0.0


def test_scatter_is_that_of_single_evaluations() -> None:
    path = decaying()
    draws = np.random.default_rng(0)
    found = []
    for _ in range(200):
        # Linear in ln τ.
        losses = np.maximum(path.times[list(path.steps)], 1e-3) ** -0.5 * np.exp(
            0.1 * draws.standard_normal(len(path.steps))
        )
        found.append(QualityPath(times=path.times, steps=path.steps, curves={"val_loss": losses}).scatter("val_loss"))
    assert 0.08 < np.mean(found) < 0.12


def test_accuracies_beyond_the_end_follow_the_loss() -> None:
    for exponent in (0.5, 1.0):
        path = decaying(exponent)
        np.testing.assert_allclose(path.trend("val_accuracy"), exponent * path.trend("val_loss"), rtol=1e-6)
        places = path.times[-1] * np.array([1.0, 4.0])
        values = path.predicted(places[None])["val_accuracy"][0]
        first, later = 1.0 - path.extended("val_accuracy", values, places)
        np.testing.assert_allclose(np.log(later / first), 0.75 * path.trend("val_accuracy"))


def test_a_rising_loss_tells_nothing_of_accuracies() -> None:
    path = decaying()
    rising = {"val_loss": 1.0 / path.curves["val_loss"], "val_accuracy": path.curves["val_accuracy"]}
    over = QualityPath(times=path.times, steps=path.steps, curves=rising)
    assert over.trend("val_loss") > 0.0
    assert over.trend("val_accuracy") == 0.0


def test_smoothing_leaves_lines_and_halves_noise() -> None:
    path = decaying()
    at = np.log(path.times[list(path.steps)][1:])
    line = np.concatenate([[0.1], 0.5 + 0.05 * at])
    straight = QualityPath(times=path.times, steps=path.steps, curves={"val_accuracy": line})
    places = path.times[None]
    values = straight.predicted(places)["val_accuracy"]
    np.testing.assert_allclose(straight.extended("val_accuracy", values, places), values)
    noise = 0.02 * np.random.default_rng(3).standard_normal(len(line))
    noisy = QualityPath(times=path.times, steps=path.steps, curves={"val_accuracy": line + noise})
    records = path.times[list(path.steps)][1:]
    found = noisy.extended("val_accuracy", noisy.predicted(records[None])["val_accuracy"][0], records)
    assert np.std(found - line[1:]) < 0.75 * np.std(noise[1:])


def test_a_shift_moves_along_the_path() -> None:
    path = decaying()
    places = path.times[-1] * np.array([0.2, 0.6])
    values = path.predicted(places[None])["val_loss"][0]
    there = places * np.exp(0.3)
    expected = path.predicted(there[None])["val_loss"][0]
    np.testing.assert_allclose(path.extended("val_loss", values, places, shift=0.3), expected)
