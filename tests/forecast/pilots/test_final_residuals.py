"""Errors of final qualities, learned from pilots: against the textbook formula with dense matrices."""

from __future__ import annotations

import numpy as np
import pytest

from raytt.forecast.pilots.final_residuals import NOISE, SHARES, learned
from raytt.forecast.pilots.residual_prior import LENGTHS, features
from raytt.task.candidate import Candidate

BUDGETS = {Candidate(lr=lr, batch_size=b): 100 for lr, b in ((0.1, 8), (0.1, 32), (0.01, 32), (0.001, 64))}
ADAMW = Candidate(optimizer="adamw", lr=0.1, batch_size=32)


def test_it_is_the_conditional_normal_law() -> None:
    spreads = {c: 0.1 * (i + 1) for i, c in enumerate(BUDGETS)}
    pilots = dict(zip(list(BUDGETS)[:2], (0.2, -0.1), strict=True))
    order, mean, covariance = learned(BUDGETS, spreads, pilots)
    x = np.array([features(c, 100) for c in order]) / np.asarray(LENGTHS)
    smooth = np.exp(-0.5 * ((x[:, None] - x[None]) ** 2).sum(axis=2))
    scale = np.array([spreads[c] for c in order])
    prior = (SHARES.common**2 + SHARES.smooth**2 * smooth + SHARES.own**2 * np.eye(4)) * np.outer(scale, scale)
    rows = [i for i, c in enumerate(order) if c in pilots]
    noisy = prior[np.ix_(rows, rows)] + np.diag((NOISE * scale[rows]) ** 2)
    gain = prior[:, rows] @ np.linalg.inv(noisy)
    np.testing.assert_allclose(mean, gain @ [pilots[order[i]] for i in rows])
    np.testing.assert_allclose(covariance, prior - gain @ prior[rows])
    np.testing.assert_allclose(np.diag(prior), scale**2)


def test_without_pilots_nothing_is_known_and_families_do_not_tell_of_each_other() -> None:
    budgets = {**BUDGETS, ADAMW: 100}
    spreads = dict.fromkeys(budgets, 0.2)
    _, mean, covariance = learned(budgets, spreads, {})
    assert not mean.any()
    np.testing.assert_allclose(np.diag(covariance), 0.04)
    order, mean, covariance = learned(budgets, spreads, {ADAMW: 1.0})
    others = [i for i, c in enumerate(order) if c != ADAMW]
    assert not mean[others].any()
    assert mean[order.index(ADAMW)] == pytest.approx(1.0 / (1.0 + NOISE**2))
