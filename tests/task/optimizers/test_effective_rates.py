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


def test_those_of_adafactor_are_its_displacements_in_units_of_the_weights() -> None:
    """Beyond the cap 1/√t, and with weights below the least size."""
    for start, least in ((4.0, 1e-3), (1e-5, 0.1)):
        candidate = Candidate(optimizer="adafactor", lr=0.8, schedule="linear", eps=(None, least))
        weight = torch.nn.Parameter(torch.full((50,), start, dtype=torch.float64))
        optimizer = candidate.optimizer.torch([weight], candidate.lr)
        moved = []
        for rate in candidate.learning_rates(12):
            optimizer.param_groups[0]["lr"] = float(rate)
            with torch.no_grad():
                weight.fill_(start)
            weight.grad = torch.ones_like(weight)
            optimizer.step()
            moved.append((start - float(weight.detach()[0])) / max(start, least))
        np.testing.assert_allclose(moved, candidate.effective_rates(12), rtol=1e-6)
        capped = candidate.effective_rates(12) < candidate.learning_rates(12)
        assert 0 < capped.sum() < 12
