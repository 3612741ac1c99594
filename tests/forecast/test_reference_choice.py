from __future__ import annotations

import pytest

from raytt.forecast.reference_choice import SAFE_SHARE, effective_lr, reference_candidate
from raytt.task.candidate import Candidate


def test_sgd_walks_at_the_median_effective_rate_with_momentum() -> None:
    candidates = [
        Candidate(lr=0.001, batch_size=8),
        Candidate(lr=0.001, momentum=0.9, batch_size=16),
        Candidate(lr=0.1, batch_size=64),
    ]
    found = reference_candidate(candidates, stability_limit=float("inf"))
    assert effective_lr(found) == pytest.approx(0.01)
    assert (found.momentum, found.batch_size, found.schedule) == (0.9, 16, "constant")


def test_rates_near_the_stability_limit_are_left_out() -> None:
    candidates = [Candidate(lr=lr) for lr in (0.001, 0.002, 0.5, 0.6, 0.7)]
    found = reference_candidate(candidates, stability_limit=0.1)
    assert effective_lr(found) == pytest.approx((0.001 * 0.002) ** 0.5)


def test_where_all_are_beyond_it_the_reference_stays_below() -> None:
    found = reference_candidate([Candidate(lr=5.0)], stability_limit=0.1)
    assert effective_lr(found) == pytest.approx(SAFE_SHARE * 0.1)


def test_adamw_takes_the_median_rate() -> None:
    candidates = [Candidate(optimizer="adamw", lr=lr, betas=(0.8, 0.99)) for lr in (1e-5, 1e-4, 1e-2)]
    found = reference_candidate(candidates, stability_limit=0.1)
    assert found.optimizer == "adamw"
    assert found.lr == pytest.approx(1e-4)
    assert found.betas == (0.8, 0.99)
