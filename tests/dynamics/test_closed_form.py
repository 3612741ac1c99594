"""Closed forms against matrix exponentials, naive iteration and each other."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg

from raytt.dynamics.kernel.spectrum import Spectrum
from tests.support.closed_form import flow_factors, heavy_ball_factors, mean_loss, step_factors
from tests.support.linear_problems import gram, squared_problem
from tests.support.spectra import spectrum_from_gram


@pytest.fixture(params=[30, 5], ids=["all reachable", "part unreachable"])
def problem(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray, Spectrum]:
    """Θ/N, stacked residual, spectrum. With 5 coordinates for 24 outputs, most of the residual can never vanish."""
    tangent = squared_problem(width=request.param)
    residual = (tangent.train.outputs - tangent.train.targets).numpy()
    return gram(tangent) / 12, residual.reshape(-1), spectrum_from_gram(gram(tangent), residual)


def loss_of(residual: np.ndarray) -> float:
    return 0.5 * float(residual @ residual) / 12


def test_flow_equals_the_matrix_exponential(problem: tuple[np.ndarray, np.ndarray, Spectrum]) -> None:
    kernel, residual, spectrum = problem
    tau = np.array([0.0, 0.3, 2.0, 50.0])
    expected = [loss_of(scipy.linalg.expm(-kernel * t) @ residual) for t in tau]
    np.testing.assert_allclose(mean_loss(spectrum, flow_factors(spectrum.eigenvalues, tau)), expected, rtol=1e-10)


def test_steps_equal_iteration_under_a_schedule(problem: tuple[np.ndarray, np.ndarray, Spectrum]) -> None:
    kernel, residual, spectrum = problem
    rates = 0.5 * np.linspace(1.0, 0.1, 40)
    expected = [loss_of(residual)]
    for rate in rates:
        residual = residual - rate * kernel @ residual
        expected.append(loss_of(residual))
    np.testing.assert_allclose(mean_loss(spectrum, step_factors(spectrum.eigenvalues, rates)), expected, rtol=1e-10)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.95])
def test_heavy_ball_equals_iteration(problem: tuple[np.ndarray, np.ndarray, Spectrum], momentum: float) -> None:
    kernel, residual, spectrum = problem
    velocity = np.zeros_like(residual)
    expected = [loss_of(residual)]
    for _ in range(60):
        velocity = momentum * velocity + kernel @ residual
        residual = residual - 0.3 * velocity
        expected.append(loss_of(residual))
    factors = heavy_ball_factors(spectrum.eigenvalues, 0.3, momentum, np.arange(61))
    np.testing.assert_allclose(mean_loss(spectrum, factors), expected, rtol=1e-9)


def test_small_steps_approach_the_flow(problem: tuple[np.ndarray, np.ndarray, Spectrum]) -> None:
    """The distance to the flow falls in proportion to the step."""
    spectrum = problem[2]
    exact = mean_loss(spectrum, flow_factors(spectrum.eigenvalues, np.array([4.0])))[0]
    errors = []
    for steps in (40, 80, 160):
        factors = step_factors(spectrum.eigenvalues, np.full(steps, 4.0 / steps))
        errors.append(abs(mean_loss(spectrum, factors)[-1] - exact))
    assert np.log2(errors[0] / errors[1]) == pytest.approx(1.0, abs=0.1)
    assert np.log2(errors[1] / errors[2]) == pytest.approx(1.0, abs=0.1)


def test_start_end_and_composition(problem: tuple[np.ndarray, np.ndarray, Spectrum]) -> None:
    _, residual, spectrum = problem
    kappa = spectrum.eigenvalues
    assert mean_loss(spectrum, flow_factors(kappa, np.zeros(1)))[0] == pytest.approx(loss_of(residual), rel=1e-12)
    unreachable = 0.5 * spectrum.remainder / 12
    end = np.array([1e6 / kappa[-1]])
    assert mean_loss(spectrum, flow_factors(kappa, end))[0] == pytest.approx(unreachable, rel=1e-12)
    stable = np.full(20_000, 1.0 / kappa[0])
    assert mean_loss(spectrum, step_factors(kappa, stable))[-1] == pytest.approx(unreachable, rel=1e-6, abs=1e-12)
    t1, t2 = np.array([0.7]), np.array([1.9])
    np.testing.assert_allclose(flow_factors(kappa, t1) * flow_factors(kappa, t2), flow_factors(kappa, t1 + t2))
    rates = np.linspace(0.1, 0.5, 10)
    both = step_factors(kappa, rates)[-1]
    np.testing.assert_allclose(step_factors(kappa, rates[:4])[-1] * step_factors(kappa, rates[4:])[-1], both)
