"""AdamW in scaled coordinates against torch's, where the preconditioner stands still."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from linear_problems import FrozenBackbone, draws, frozen_backbone

from raytt.candidates import Candidate
from raytt.dynamics.adam import AdamW
from raytt.dynamics.network import CoordinateNetwork
from raytt.dynamics.path import PathNetwork
from raytt.dynamics.simulate import simulate
from raytt.dynamics.tangent import Samples, Tangent
from raytt.losses import CrossEntropy

STEPS = 60
EPS = 1e4
"""So large that √v̂ + ε is ε to one part in 10⁴ or less, whatever the gradients: torch's AdamW with a known
preconditioner."""


def _torch_losses(problem: FrozenBackbone, candidate: Candidate, *, seed: int) -> np.ndarray:
    head = torch.nn.Linear(problem.head.in_features, problem.head.out_features).double()
    head.load_state_dict(problem.head.state_dict())
    optimizer = torch.optim.AdamW(
        head.parameters(),
        lr=candidate.lr,
        betas=candidate.betas,
        eps=candidate.eps,
        weight_decay=candidate.weight_decay,
    )
    factors = candidate.lr_factors(STEPS)
    losses = []
    for step, rows in enumerate(draws(len(problem.labels), candidate, STEPS, seed=seed, path=0)):
        with torch.no_grad():
            losses.append(float(torch.nn.functional.cross_entropy(head(problem.features), problem.labels)))
        optimizer.param_groups[0]["lr"] = candidate.lr * factors[step]
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(head(problem.features[rows]), problem.labels[rows]).backward()
        optimizer.step()
    return np.array(losses)


def _scaled(tangent: Tangent, scale: float) -> Tangent:
    """Rows J D₀^−½ for D₀ = scale, and updates J D₀^½ D⁻¹ for D = EPS."""
    s = tangent.train
    rows, updates = s.jacobian * scale**-0.5, s.jacobian * scale**0.5 / EPS
    train = Samples(outputs=s.outputs, jacobian=rows, radial=s.radial, targets=s.targets, updates=updates)
    return Tangent(train=train, position=tangent.position)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"betas": (0.0, 0.999)},
        {"schedule": "cosine", "warmup_steps": 9},
        {"weight_decay": 3e-5},
    ],
    ids=["plain", "no momentum", "schedule", "decay"],
)
def test_equals_torch_while_the_preconditioner_stands_still(fields: dict) -> None:
    problem = frozen_backbone()
    lr = 0.1 * EPS if "weight_decay" not in fields else 0.02 * EPS
    candidate = Candidate(optimizer="adamw", lr=lr, eps=EPS, batch_size=16, **fields)
    tangent = _scaled(problem.tangent, 7.0)
    curves = simulate(
        tangent,
        CrossEntropy(),
        [candidate],
        [STEPS],
        num_paths=1,
        seed=3,
        target=None,
        record_at=range(STEPS),
        network=PathNetwork([tangent]),
    )
    real = _torch_losses(problem, candidate, seed=3)
    assert real.min() < 0.9 * real[0]
    np.testing.assert_allclose(curves.train_loss[0, 0, :STEPS], real, rtol=2e-4)


def test_noise_factor_scales_the_update() -> None:
    problem = frozen_backbone()
    tangent = _scaled(problem.tangent, 1.0)
    moved = []
    for factor in (1.0, 0.5):
        network = CoordinateNetwork(tangent)
        block = AdamW(network, [Candidate(optimizer="adamw", lr=0.1, batch_size=16)], lambda _, f=factor: f)
        block.step(CrossEntropy(), network.batch(torch.arange(16)), torch.tensor([[0.1]], dtype=torch.float64))
        moved.append(block.state.clone())
    torch.testing.assert_close(moved[1], 0.5 * moved[0])
    assert float(moved[0].norm()) > 0
