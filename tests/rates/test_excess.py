"""Stationary excess loss against a simulation of heavy ball with noise."""

from __future__ import annotations

import numpy as np
import pytest

from raytt.rates.excess import relaxed, stationary_excess


@pytest.mark.parametrize(("rate", "momentum"), [(0.05, 0.0), (0.8, 0.0), (0.02, 0.9), (0.4, 0.5)])
def test_it_is_that_of_noisy_gradient_steps(rate: float, momentum: float) -> None:
    generator = np.random.default_rng(0)
    curvature, noise = 1.3, 0.7
    x = velocity = np.zeros(4000)
    for _ in range(400):
        gradient = curvature * x + np.sqrt(noise) * generator.standard_normal(4000)
        velocity = momentum * velocity + gradient
        x = x - rate * velocity
    one = np.ones(1)
    found, over = stationary_excess(
        noise * one, curvature * one, rate * one, rate / (1 - momentum) * one, momentum * one
    )
    assert not over[0]
    assert 0.5 * curvature * np.mean(x**2) == pytest.approx(found[0], rel=0.1)


def test_to_first_order_it_needs_no_curvature() -> None:
    one = np.ones(1)
    found, over = stationary_excess(8.0 * one, None, 0.1 * one, 0.1 * one, 0.0 * one)
    assert found[0] == pytest.approx(0.2)
    assert not over[0]
    assert relaxed(0.0 * one, found, None, 0.1 * one)[0] == found[0]


def test_it_builds_up_as_the_simulation_does() -> None:
    rate, curvature, noise = 0.05, 1.3, 0.7
    one = np.ones(1)
    target, _ = stationary_excess(noise * one, curvature * one, rate * one, rate * one, 0.0 * one)
    second, excess = 0.0, 0.0 * one
    for _ in range(10):
        second = (1 - rate * curvature) ** 2 * second + rate**2 * noise
        excess = relaxed(excess, target, curvature * one, rate * one)
    assert excess[0] == pytest.approx(0.5 * curvature * second, rel=0.05)
    assert excess[0] < 0.8 * target[0]
