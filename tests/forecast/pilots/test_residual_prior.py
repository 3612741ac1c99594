"""What is expected of residuals before any pilot."""

from __future__ import annotations

import math

import numpy as np
import pytest

from raytt.forecast.pilots.residual_prior import DEPTH_LENGTH, LENGTHS, Places, ResidualPrior, covariance, features
from raytt.task.candidate import Candidate

PRIOR = ResidualPrior(common=0.1, smooth=0.2, own=0.05)


def test_features_are_logarithms_of_what_a_step_depends_on() -> None:
    candidate = Candidate(lr=0.01, momentum=0.9, batch_size=16, warmup_steps=10)
    assert features(candidate, 40) == pytest.approx([math.log(0.1), math.log(16), math.log(0.1), 0.25])
    assert features(Candidate(optimizer="adamw", lr=0.01), 5) == pytest.approx([math.log(0.01), math.log(32), 0.0, 0.0])


def test_warm_up_beyond_the_budget_is_all_of_it() -> None:
    assert features(Candidate(lr=0.1, warmup_steps=50), 20)[3] == 1.0


def test_covariance_is_the_formula() -> None:
    x, y = np.array([0.0, 0.0, 0.0, 0.0]), np.array([1.0, -0.5, 0.3, 0.2])
    here = Places.of([(0, x, 0.4), (0, x, 1.0), (1, y, 1.0)])
    found = covariance(PRIOR, here, here)
    fading = math.exp(-0.6 / DEPTH_LENGTH)
    near = math.exp(-0.5 * sum((a / b) ** 2 for a, b in zip(y, LENGTHS, strict=True)))
    assert found[0, 0] == pytest.approx(PRIOR.spread**2)
    assert found[0, 1] == pytest.approx(0.1**2 + (0.2**2 + 0.05**2) * fading)
    assert found[1, 2] == pytest.approx(0.1**2 + 0.2**2 * near)
    assert found[0, 2] == pytest.approx(0.1**2 + 0.2**2 * near * fading)
    np.testing.assert_array_equal(found, found.T)
    assert float(np.linalg.eigvalsh(found).min()) > 0.0


def test_candidates_of_different_models_have_the_common_offset_alone_in_common() -> None:
    x = np.zeros(4)
    rows = [(0, x, 0.4), (1, x, 0.4), (2, x, 0.4)]
    found = covariance(PRIOR, Places.of(rows, [0, 0, 1]), Places.of(rows, [0, 0, 1]))
    assert found[0, 1] == pytest.approx(0.1**2 + 0.2**2)
    assert found[0, 2] == found[1, 2] == pytest.approx(0.1**2)
    assert np.diag(found).tolist() == pytest.approx([PRIOR.spread**2] * 3)
