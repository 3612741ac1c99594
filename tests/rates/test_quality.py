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
