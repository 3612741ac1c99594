"""How AdamW follows the size of a preconditioner; that it equals torch's is in `test_contract`."""

from __future__ import annotations

import torch

from raytt.dynamics.network import CoordinateNetwork
from raytt.dynamics.steppers import Preconditioner, stepper_of
from raytt.dynamics.tangent import Samples, Tangent
from raytt.task.candidate import Candidate
from raytt.task.losses import CrossEntropy, SquaredError
from tests.support.linear_problems import frozen_backbone

EPS = 1e4


def _scaled(tangent: Tangent, scale: float) -> Tangent:
    """Rows J D₀^−½ for D₀ = scale, and updates J D₀^½ D⁻¹ for D = EPS."""
    s = tangent.train
    rows, updates = s.jacobian * scale**-0.5, s.jacobian * scale**0.5 / EPS
    train = Samples(outputs=s.outputs, jacobian=rows, radial=s.radial, targets=s.targets, updates=updates)
    return Tangent(train=train, position=tangent.position)


def test_what_epsilon_holds_of_the_preconditioner_does_not_follow_the_candidate() -> None:
    problem = frozen_backbone()
    tangent = _scaled(problem.tangent, 1.0)
    moved = []
    for known in (None, Preconditioner(second_moment=7.0, eps_share=1.0), Preconditioner(second_moment=7.0)):
        network = CoordinateNetwork(tangent)
        block = stepper_of(network, [Candidate(optimizer="adamw", lr=0.1, batch_size=16)], known)
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
    block = stepper_of(network, [Candidate(optimizer="adamw", lr=0.1, batch_size=4)], Preconditioner(second_moment=1.0))
    block.step(SquaredError(), network.batch(torch.arange(4)), torch.tensor([[0.1]], dtype=torch.float64))
    assert block.state.tolist() == [[0.0]]
