"""Trial steps on a quadratic loss, where the second order is all there is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.rates.trial_steps import TrialSteps, fit_curvature, try_steps
from raytt.errors import InputError
from raytt.rates.gradients import MinibatchGradients
from raytt.rates.reference import state_of
from raytt.rates.signal import Signal
from tests.rates.problems import NUM_SAMPLES, regression, regression_task

RATES = (0.02, 0.05, 0.1)


def _found(batch_size: int, trials: int, measured_on: int = 2) -> TrialSteps:
    source = MinibatchGradients(regression_task(), seed=3)
    state = state_of(regression_task().model())
    return try_steps(
        source,
        state,
        point=0,
        batch_size=batch_size,
        learning_rates=RATES,
        trials=range(trials),
        measured_on=measured_on,
    )


def test_with_the_whole_data_set_rate_and_curvature_are_those_of_the_quadratic() -> None:
    x, y = regression()
    hessian = x.T @ x / NUM_SAMPLES
    gradient = -(x.T @ y).squeeze(1) / NUM_SAMPLES
    found = fit_curvature(_found(NUM_SAMPLES, 2))
    assert found.rate == pytest.approx(float(gradient @ gradient), rel=1e-5)
    assert found.curvature == pytest.approx(float(gradient @ hessian @ gradient), rel=1e-4)
    signal = Signal(rate=found.rate, noise=3.0 * found.rate, rate_error=0.0, noise_error=0.0, minibatches=2)
    assert found.mean_curvature(signal) == pytest.approx(found.curvature / (4.0 * found.rate))


def test_the_curvature_of_small_minibatches_holds_that_of_their_noise() -> None:
    x, y = regression()
    hessian = x.T @ x / NUM_SAMPLES
    each = -x * y
    mean = each.mean(dim=0)
    batch_size = 3
    spread = (each - mean).T @ (each - mean) / (NUM_SAMPLES - 1) * (1 / batch_size - 1 / NUM_SAMPLES)
    expected = float(mean @ hessian @ mean + torch.trace(hessian @ spread))
    found = fit_curvature(_found(batch_size, 150))
    assert found.rate == pytest.approx(float(mean @ mean), abs=4 * found.rate_error)
    assert found.curvature == pytest.approx(expected, abs=4 * found.curvature_error)
    assert float(torch.trace(hessian @ spread)) > 4 * found.curvature_error


def test_trials_can_be_shared_out() -> None:
    together = _found(5, 3).falls
    source = MinibatchGradients(regression_task(), seed=3)
    state = state_of(regression_task().model())
    alone = try_steps(source, state, point=0, batch_size=5, learning_rates=RATES, trials=[2], measured_on=2).falls
    np.testing.assert_array_equal(together[2:], alone)


def test_the_state_is_back_in_place_afterwards() -> None:
    source = MinibatchGradients(regression_task(), seed=3)
    state = state_of(regression_task().model())
    try_steps(source, state, point=0, batch_size=5, learning_rates=RATES, trials=[0], measured_on=1)
    assert torch.equal(source.weights(), torch.zeros(6))


def test_what_cannot_be_tried_is_refused() -> None:
    source = MinibatchGradients(regression_task(), seed=3)
    state = state_of(regression_task().model())
    with pytest.raises(InputError, match="two different learning rates"):
        try_steps(source, state, point=0, batch_size=5, learning_rates=[0.1], trials=[0], measured_on=1)
    with pytest.raises(InputError, match="smaller learning rates"):
        fit_curvature(TrialSteps(learning_rates=np.array([0.1, 1.0]), falls=np.array([[1.0, -np.inf]])))
