"""The edge of stability against optimizers on a quadratic, and what is said about doubtful forecasts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from raytt.forecast.crossing import PathCurves
from raytt.forecast.trust import (
    ADAMW_EDGE,
    EDGE,
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

SHARPNESS = 4.0
TRUST = PathTrust(sharpness=SHARPNESS, last_ratio=0.2, batch_size=32)


def grows(optimizer: torch.optim.Optimizer, weight: nn.Parameter, steps: int = 400) -> bool:
    """Whether ½ λ w² grows."""
    for _ in range(steps):
        optimizer.zero_grad()
        (0.5 * SHARPNESS * weight.square()).sum().backward()
        optimizer.step()
    return bool(weight.abs() > 1.0)


@pytest.mark.parametrize(
    "candidate",
    [
        Candidate(lr=1.0),
        Candidate(lr=1.0, momentum=0.9),
        Candidate(lr=1.0, momentum=0.9, nesterov=True),
    ],
)
@pytest.mark.parametrize("share", [0.97, 1.03])
def test_the_edge_of_sgd_is_where_a_quadratic_diverges(candidate: Candidate, share: float) -> None:
    lr = share / TRUST.edge(candidate)
    weight = nn.Parameter(torch.ones(1, dtype=torch.float64))
    sgd = torch.optim.SGD([weight], lr=lr, momentum=candidate.momentum, nesterov=candidate.nesterov)
    assert grows(sgd, weight) is (share > 1.0)


@pytest.mark.parametrize("share", [0.97, 1.03])
def test_the_edge_of_adamw_is_that_of_its_moving_average(share: float) -> None:
    lr = share / TRUST.edge(Candidate(optimizer="adamw", lr=1.0))
    weight, mean = 1.0, 0.0
    for _ in range(400):
        # In coordinates in which the preconditioner is one.
        mean = 0.9 * mean + 0.1 * SHARPNESS * weight
        weight -= lr * mean
    assert (abs(weight) > 1.0) is (share > 1.0)


def test_lost_far_over_the_edge() -> None:
    limit = 2.0 / SHARPNESS
    assert not TRUST.lost(Candidate(lr=0.99 * LOST * limit))
    assert TRUST.lost(Candidate(lr=1.01 * LOST * limit))
    # Momentum widens the limit, up to an effective rate.
    assert not TRUST.lost(Candidate(lr=0.099 * LOST_EFFECTIVE * limit, momentum=0.9))
    far = Candidate(lr=0.101 * LOST_EFFECTIVE * limit, momentum=0.9)
    assert TRUST.lost(far)
    assert TRUST.why_lost(far).startswith("momentum takes its learning rate to 40 times")
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
    over = 1.1 * EDGE * 2.0 / SHARPNESS
    assert "times the edge of stability" in doubts(Candidate(lr=over))[0][0]
    unit = TRUST.edge(Candidate(optimizer="adamw", lr=1.0))
    for share, grave in ((0.9, 0), (1.1, 1)):
        assert len(doubts(Candidate(optimizer="adamw", lr=share * ADAMW_EDGE / unit))[0]) == grave
        # Momentum, well below the edge of its own.
        fast = Candidate(lr=share * 0.1 * EDGE_EFFECTIVE * 2.0 / SHARPNESS, momentum=0.9)
        assert TRUST.edge(fast) < EDGE
        found = doubts(fast)[0]
        assert len(found) == grave
        assert all("momentum takes its learning rate to 22 times what plain SGD stands" in doubt for doubt in found)


def test_slight_doubts() -> None:
    trust = PathTrust(sharpness=SHARPNESS, last_ratio=1.1 * FAR_RATIO * np.exp(-1.0), batch_size=32)
    assert "far below the" in doubts(Candidate(lr=0.01), trust=trust)[1][0]
    assert "much smaller than the reference run's 32" in doubts(Candidate(lr=0.01, batch_size=8))[1][0]
    assert doubts(Candidate(lr=0.01, batch_size=16))[1] == []
