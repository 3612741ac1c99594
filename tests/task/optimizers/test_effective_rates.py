"""Effective learning rates against torch's own updates under a constant gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from raytt.task.candidate import Candidate


@pytest.mark.parametrize(
    "candidate",
    [
        Candidate(lr=0.1),
        Candidate(lr=0.1, momentum=0.9, schedule="cosine", warmup_steps=3),
        Candidate(lr=0.1, momentum=0.8, nesterov=True, schedule="linear"),
        Candidate(optimizer="adamw", lr=0.1, warmup_steps=2),
        Candidate(optimizer="adam", lr=0.1, schedule="linear"),
        Candidate(optimizer="rmsprop", lr=0.1),
        Candidate(optimizer="lion", lr=0.1, schedule="linear"),
        Candidate(optimizer="rmsprop", lr=0.1, momentum=0.9, alpha=0.9, schedule="cosine"),
    ],
    ids=["sgd", "momentum", "nesterov", "adamw", "adam", "rmsprop", "lion", "rmsprop with momentum"],
)
def test_they_are_the_displacements_of_torch(candidate: Candidate) -> None:
    weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = candidate.optimizer.torch([weight], candidate.lr)
    nominal, effective = candidate.learning_rates(12), candidate.effective_rates(12)
    moved = []
    for rate in nominal:
        optimizer.param_groups[0]["lr"] = float(rate)
        before = float(weight.detach())
        weight.grad = torch.ones(1, dtype=torch.float64)
        optimizer.step()
        moved.append(before - float(weight.detach()))
    np.testing.assert_allclose(moved, effective, rtol=1e-6)
