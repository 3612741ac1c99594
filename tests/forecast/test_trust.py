"""The edge of stability, and what is said about doubtful forecasts."""

from __future__ import annotations

import numpy as np
import pytest

from raytt.forecast.crossing import PathCurves
from raytt.forecast.trust import (
    EDGE_EFFECTIVE,
    FAR_RATIO,
    LOST,
    LOST_EFFECTIVE,
    SPIKE,
    PathTrust,
    doubts_of,
    edge_words,
)
from raytt.task.candidate import Candidate
from raytt.task.optimizers import OPTIMIZERS, AdamW, RMSprop, Sgd

SHARPNESS = 4.0
TRUST = PathTrust(sharpness=SHARPNESS, last_ratio=0.2, batch_size=32)


@pytest.mark.parametrize("optimizer", OPTIMIZERS.names())
def test_the_edge_is_that_of_the_optimizer(optimizer: str) -> None:
    """Where that is: `tests/task/optimizers/test_contract.py`."""
    candidate = Candidate(optimizer=optimizer, lr=0.3)
    assert TRUST.edge(candidate) == pytest.approx(0.3 / candidate.optimizer.stability_limit(SHARPNESS))


def test_only_momentum_that_sums_gradients_takes_the_rate_further() -> None:
    for optimizer in (Sgd(), AdamW(), RMSprop()):
        assert TRUST.effective(Candidate(optimizer=optimizer, lr=0.1)) == 0.0
    for heavy in (Sgd(momentum=0.9), RMSprop(momentum=0.9)):
        assert TRUST.effective(Candidate(optimizer=heavy, lr=0.1)) == pytest.approx(1.0 * SHARPNESS / 2.0)


def test_lost_far_over_the_edge() -> None:
    limit = 2.0 / SHARPNESS
    assert not TRUST.lost(Candidate(lr=0.99 * LOST * limit))
    assert TRUST.lost(Candidate(lr=1.01 * LOST * limit))
    # Momentum widens the limit, up to an effective rate.
    assert not TRUST.lost(Candidate(lr=0.099 * LOST_EFFECTIVE * limit, momentum=0.9))
    far = Candidate(lr=0.101 * LOST_EFFECTIVE * limit, momentum=0.9)
    assert TRUST.lost(far)
    assert TRUST.why_lost(far).startswith("effective learning rate with momentum 40 times plain SGD's limit")
    assert TRUST.why_lost(Candidate(lr=1.01 * LOST * limit)) == edge_words(1.01 * LOST)


def doubts(
    candidate: Candidate, *, at: float = 50.0, passes: float = 0.0, peak: float = 1.0, trust: PathTrust | None = TRUST
) -> tuple[list[str], list[str]]:
    times = np.arange(101.0)
    loss = np.exp(-times / 50.0)
    loss[5] = peak
    paths = PathCurves(
        times=times,
        end=100,
        train_loss=np.tile(loss, (2, 1)),
        train_accuracy=None,
        val_loss=None,
        val_accuracy=None,
    )
    return doubts_of(paths, np.full(2, at), candidate=candidate, passes=passes, stability_share=0.0, trust=trust)


def test_a_calm_run_within_the_path_raises_no_doubt() -> None:
    assert doubts(Candidate(lr=0.01)) == ([], [])


def test_grave_doubts() -> None:
    assert "17 passes" not in str(doubts(Candidate(lr=0.01), passes=17.0))
    assert "21 passes" in doubts(Candidate(lr=0.01), passes=21.0)[0][0]
    assert "rises above" in doubts(Candidate(lr=0.01), peak=1.1 * SPIKE)[0][0]
    over = 1.1 * Sgd.trusted_share * 2.0 / SHARPNESS
    assert "times the edge of stability" in doubts(Candidate(lr=over))[0][0]
    unit = TRUST.edge(Candidate(optimizer="adamw", lr=1.0))
    for share, grave in ((0.9, 0), (1.1, 1)):
        assert len(doubts(Candidate(optimizer="adamw", lr=share * AdamW.trusted_share / unit))[0]) == grave
        # Momentum, well below the edge of its own.
        fast = Candidate(lr=share * 0.1 * EDGE_EFFECTIVE * 2.0 / SHARPNESS, momentum=0.9)
        assert TRUST.edge(fast) < Sgd.trusted_share
        found = doubts(fast)[0]
        assert len(found) == grave
        assert all("effective learning rate with momentum 22 times plain SGD's limit" in doubt for doubt in found)


def test_slight_doubts() -> None:
    trust = PathTrust(sharpness=SHARPNESS, last_ratio=1.1 * FAR_RATIO * np.exp(-1.0), batch_size=32)
    assert "far below the" in doubts(Candidate(lr=0.01), trust=trust)[1][0]
    assert "much smaller than the reference run's 32" in doubts(Candidate(lr=0.01, batch_size=8))[1][0]
    assert doubts(Candidate(lr=0.01, batch_size=16))[1] == []
