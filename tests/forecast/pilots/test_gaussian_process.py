"""Exact regression against closed forms and scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, Matern

from raytt.forecast.pilots.gaussian_process import GaussianProcess, log_density
from raytt.forecast.pilots.residual_prior import DEPTH_LENGTH, LENGTHS, Places, ResidualPrior, covariance

PRIOR = ResidualPrior(common=0.2, smooth=0.5, own=0.1)
NEVER = 1e6
"""A length over which nothing changes."""
AT_ONCE = 1e-6
"""A length over which everything does."""


def places(count: int, seed: int) -> Places:
    rng = np.random.default_rng(seed)
    rows = [(number, rng.normal(size=len(LENGTHS)), float(rng.uniform(0.1, 1.5))) for number in range(count)]
    # The last two are one candidate at two depths.
    rows[-1] = (rows[-2][0], rows[-2][1], rows[-1][2])
    return Places.of(rows)


def as_matrix(found: Places) -> np.ndarray:
    return np.column_stack([found.features, found.depths, found.candidates])


def sklearns_kernel() -> object:
    """The same covariance from kernels of scikit-learn, over features, depth and number of the candidate."""
    depth = Matern(length_scale=[*[NEVER] * len(LENGTHS), DEPTH_LENGTH, NEVER], nu=0.5)
    smooth = RBF(length_scale=[*LENGTHS, NEVER, NEVER])
    own = RBF(length_scale=[*[NEVER] * len(LENGTHS), NEVER, AT_ONCE])
    inner = ConstantKernel(PRIOR.smooth**2) * smooth + ConstantKernel(PRIOR.own**2) * own
    return ConstantKernel(PRIOR.common**2) + inner * depth


def test_posterior_and_likelihood_are_scikit_learns() -> None:
    seen, wanted = places(9, 1), places(4, 2)
    values, noise = np.random.default_rng(3).normal(size=9), np.linspace(0.05, 0.3, 9)
    ours = GaussianProcess(covariance=covariance(PRIOR, seen, seen), noise=noise, values=values)
    theirs = GaussianProcessRegressor(kernel=sklearns_kernel(), alpha=noise**2, optimizer=None)
    theirs.fit(as_matrix(seen), values)
    mean, spread = ours.posterior(covariance(PRIOR, wanted, seen), covariance(PRIOR, wanted, wanted))
    expected, expected_spread = theirs.predict(as_matrix(wanted), return_cov=True)
    np.testing.assert_allclose(mean, expected, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(spread, expected_spread, rtol=1e-7, atol=1e-9)
    assert ours.log_likelihood() == pytest.approx(theirs.log_marginal_likelihood(), rel=1e-10)


def test_one_observation_has_a_closed_form() -> None:
    found = GaussianProcess(covariance=np.array([[0.4]]), noise=np.array([0.3]), values=np.array([0.7]))
    mean, spread = found.posterior(np.array([[0.2]]), np.array([[0.5]]))
    assert mean[0] == pytest.approx(0.2 / (0.4 + 0.09) * 0.7)
    assert spread[0, 0] == pytest.approx(0.5 - 0.2**2 / 0.49)
    assert found.log_likelihood() == pytest.approx(-0.5 * 0.49 / 0.49 - 0.5 * math.log(2 * math.pi * 0.49))


def test_without_observations_the_prior_stays() -> None:
    empty = GaussianProcess(covariance=np.zeros((0, 0)), noise=np.zeros(0), values=np.zeros(0))
    mean, spread = empty.posterior(np.zeros((3, 0)), np.eye(3))
    assert mean.tolist() == [0.0, 0.0, 0.0]
    np.testing.assert_array_equal(spread, np.eye(3))
    assert empty.log_likelihood() == 0.0


@pytest.mark.parametrize("chosen", [[0], [2, 5], [6, 7, 8]])
def test_what_is_left_out_is_predicted_as_if_it_had_never_been_seen(chosen: list[int]) -> None:
    seen, values, noise = places(9, 4), np.random.default_rng(5).normal(size=9), np.linspace(0.05, 0.3, 9)
    full = covariance(PRIOR, seen, seen)
    mean, spread = GaussianProcess(covariance=full, noise=noise, values=values).left_out(np.array(chosen))
    rest = np.setdiff1d(np.arange(9), chosen)
    again = GaussianProcess(covariance=full[np.ix_(rest, rest)], noise=noise[rest], values=values[rest])
    expected, below = again.posterior(full[np.ix_(chosen, rest)], full[np.ix_(chosen, chosen)])
    np.testing.assert_allclose(mean, expected, atol=1e-10)
    np.testing.assert_allclose(spread, below + np.diag(noise[chosen] ** 2), atol=1e-10)


def test_the_density_is_that_of_a_product_where_covariance_is_diagonal() -> None:
    x, s = np.array([0.3, -0.5]), np.array([0.2, 0.7])
    alone = [-0.5 * (a / b) ** 2 - math.log(b) - 0.5 * math.log(2 * math.pi) for a, b in zip(x, s, strict=True)]
    assert log_density(x, np.diag(s**2)) == pytest.approx(sum(alone))
