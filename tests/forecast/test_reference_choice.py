from __future__ import annotations

import pytest

from raytt.forecast.reference_choice import reference_candidate
from raytt.task.candidate import Candidate
from raytt.task.optimizers import OPTIMIZERS, RMSprop
from raytt.task.optimizers.sgd import SAFE_SHARE


def test_sgd_walks_at_the_median_effective_rate_with_momentum() -> None:
    candidates = [
        Candidate(lr=0.001, batch_size=8),
        Candidate(lr=0.001, momentum=0.9, batch_size=16),
        Candidate(lr=0.1, batch_size=64),
    ]
    found = reference_candidate(candidates, stability_limit=float("inf"))
    assert found.effective_lr == pytest.approx(0.01)
    assert (found.optimizer.momentum, found.batch_size, found.schedule.name) == (0.9, 16, "constant")


def test_rates_near_the_stability_limit_are_left_out() -> None:
    candidates = [Candidate(lr=lr) for lr in (0.001, 0.002, 0.5, 0.6, 0.7)]
    found = reference_candidate(candidates, stability_limit=0.1)
    assert found.effective_lr == pytest.approx((0.001 * 0.002) ** 0.5)


def test_where_all_are_beyond_it_the_reference_stays_below() -> None:
    found = reference_candidate([Candidate(lr=5.0)], stability_limit=0.1)
    assert found.effective_lr == pytest.approx(SAFE_SHARE * 0.1)


@pytest.mark.parametrize("optimizer", ["adamw", "adam"])
def test_adam_takes_the_median_rate(optimizer: str) -> None:
    candidates = [Candidate(optimizer=optimizer, lr=lr, betas=(0.8, 0.99)) for lr in (1e-5, 1e-4, 1e-2)]
    found = reference_candidate(candidates, stability_limit=0.1)
    assert found.optimizer.name == optimizer
    assert found.lr == pytest.approx(1e-4)
    assert found.optimizer.betas == (0.8, 0.99)


def test_rmsprop_takes_the_median_effective_rate_with_the_median_momentum() -> None:
    own = [(1e-3, 0.9), (1e-4, 0.9), (1e-3, 0.0)]
    candidates = [
        Candidate(optimizer=RMSprop(momentum=momentum, alpha=0.9, weight_decay=0.1), lr=lr) for lr, momentum in own
    ]
    found = reference_candidate(candidates, stability_limit=0.1)
    assert found.optimizer == RMSprop(momentum=0.9, alpha=0.9)
    # Effective rates 0.01, 0.001, 0.001.
    assert found.effective_lr == pytest.approx(0.001)


@pytest.mark.parametrize("optimizer", OPTIMIZERS.names())
def test_every_reference_is_plain_and_of_its_family(optimizer: str) -> None:
    """Its path serves all candidates: without decay, without clipping, without a schedule."""
    candidates = [
        Candidate(optimizer=optimizer, lr=0.01, weight_decay=0.1, max_grad_norm=1.0, schedule="cosine", batch_size=b)
        for b in (8, 16, 64)
    ]
    found = reference_candidate(candidates, stability_limit=100.0)
    assert (found.optimizer.name, found.batch_size, found.schedule.name) == (optimizer, 16, "constant")
    assert found.optimizer.weight_decay == 0.0
    assert found.max_grad_norm is None
    assert found.effective_lr == pytest.approx(0.01)


def test_optimizers_are_not_mixed() -> None:
    with pytest.raises(ValueError, match="too many values"):
        reference_candidate([Candidate(lr=0.1), Candidate(optimizer="adam", lr=0.1)], stability_limit=1.0)
