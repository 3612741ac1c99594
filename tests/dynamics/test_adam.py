"""AdamW in scaled coordinates against torch's, where the preconditioner stands still."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from raytt.dynamics.adam import AdamW, Preconditioner
from raytt.dynamics.network import CoordinateNetwork
from raytt.dynamics.path import PathNetwork
from raytt.dynamics.simulate import simulate
from raytt.dynamics.tangent import Samples, Tangent
from raytt.task.candidate import Candidate
from raytt.task.losses import CrossEntropy, SquaredError
from tests.support.linear_problems import FrozenBackbone, draws, frozen_backbone

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


@pytest.mark.parametrize("fields", [{}, {"betas": (0.8, 0.9)}, {"schedule": "linear", "warmup_steps": 5}])
@pytest.mark.parametrize("batch_size", [4, 32])
def test_equals_torch_where_one_number_is_the_whole_preconditioner(batch_size: int, fields: dict) -> None:
    candidate = Candidate(optimizer="adamw", lr=0.02, eps=1e-30, batch_size=batch_size, **fields)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 1, generator=generator, dtype=torch.float64)
    y = 3.0 * x + torch.randn(64, 1, generator=generator, dtype=torch.float64)
    # f = x w: D is one number, here as if a reference had met D = 0.3; the candidate's own second moment is another.
    scale = 0.3
    rows = (x * scale**-0.5)[:, :, None]
    train = Samples(outputs=torch.zeros_like(y), jacobian=rows, radial=torch.zeros_like(y), targets=y, updates=rows)
    tangent = Tangent(train=train, position=torch.zeros(1, dtype=torch.float64))
    curves = simulate(
        tangent,
        SquaredError(),
        [candidate],
        [STEPS],
        num_paths=1,
        seed=5,
        target=None,
        record_at=range(STEPS),
        network=PathNetwork([tangent]),
        preconditioner=Preconditioner(second_moment=scale),
    )
    weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = torch.optim.AdamW([weight], lr=0.02, betas=candidate.betas, eps=1e-30, weight_decay=0.0)
    factors, real = candidate.lr_factors(STEPS), []
    for step, index in enumerate(draws(64, candidate, STEPS, seed=5, path=0)):
        real.append(float(0.5 * (x * weight - y).square().mean().detach()))
        optimizer.param_groups[0]["lr"] = 0.02 * factors[step]
        optimizer.zero_grad()
        (0.5 * (x[index] * weight - y[index]).square().mean()).backward()
        optimizer.step()
    assert real[-1] < 0.9 * real[0]
    np.testing.assert_allclose(curves.train_loss[0, 0, :STEPS], real, rtol=1e-9)


def test_what_epsilon_holds_of_the_preconditioner_does_not_follow_the_candidate() -> None:
    problem = frozen_backbone()
    tangent = _scaled(problem.tangent, 1.0)
    moved = []
    for known in (None, Preconditioner(second_moment=7.0, eps_share=1.0), Preconditioner(second_moment=7.0)):
        network = CoordinateNetwork(tangent)
        block = AdamW(network, [Candidate(optimizer="adamw", lr=0.1, batch_size=16)], known)
        block.step(CrossEntropy(), network.batch(torch.arange(16)), torch.tensor([[0.1]], dtype=torch.float64))
        moved.append(block.state.clone())
    torch.testing.assert_close(moved[1], moved[0])
    # By hand: the first gradient is its own second moment.
    gradient = moved[0] / -0.1
    torch.testing.assert_close(moved[2], moved[0] * (7.0**0.5 / gradient.norm()))


def test_a_row_without_gradient_stays_where_it_is() -> None:
    y = torch.zeros(4, 1, dtype=torch.float64)
    rows = torch.ones(4, 1, 1, dtype=torch.float64)
    network = CoordinateNetwork(
        Tangent(
            train=Samples(outputs=y, jacobian=rows, radial=y, targets=y), position=torch.zeros(1, dtype=torch.float64)
        )
    )
    block = AdamW(network, [Candidate(optimizer="adamw", lr=0.1, batch_size=4)], Preconditioner(second_moment=1.0))
    block.step(SquaredError(), network.batch(torch.arange(4)), torch.tensor([[0.1]], dtype=torch.float64))
    assert block.state.tolist() == [[0.0]]
