"""What the stepper of every registered optimizer must hold, step for step against `torch.optim` itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from raytt.dynamics.network import CoordinateNetwork, Network, linear_network
from raytt.dynamics.path import PathNetwork
from raytt.dynamics.simulate import simulate
from raytt.dynamics.steppers import STEPPERS, Preconditioner, stepper_of
from raytt.dynamics.tangent import Samples, Tangent
from raytt.errors import InputError
from raytt.task.candidate import Candidate
from raytt.task.losses import CrossEntropy, SquaredError
from raytt.task.optimizers import OPTIMIZERS, Adam, AdamW, Adaptive, Optimizer, RMSprop, Sgd
from tests.support.linear_problems import FrozenBackbone, draws, frozen_backbone, squared_problem
from tests.task.optimizers.examples import EXAMPLES as ALL
from tests.task.optimizers.examples import UNSIMULATED, label

STEPS = 60
EPS = 1e4
"""So large that √v + ε is ε to one part in 10⁴ or less, whatever the gradients: torch's optimizer with a known
preconditioner."""
EXAMPLES = [e for e in ALL if e.name not in UNSIMULATED]
ADAPTIVE = [e for e in EXAMPLES if isinstance(e, Adaptive)]
SHORT = {"schedule": "cosine", "warmup_steps": 9, "batch_size": 16}


def test_every_optimizer_has_its_stepper() -> None:
    assert set(STEPPERS.names()) == set(OPTIMIZERS.names()) - UNSIMULATED


def test_an_unknown_optimizer_raises() -> None:
    class Unknown(Sgd):
        name = "unknown"

    candidate = Candidate(lr=0.1, batch_size=4)
    object.__setattr__(candidate, "optimizer", Unknown())
    with pytest.raises(InputError, match="Unknown optimizer to simulate 'unknown'"):
        stepper_of(linear_network(squared_problem()), [candidate])


def test_a_stepper_refuses_the_candidates_of_another() -> None:
    network = linear_network(squared_problem())
    for name in STEPPERS.names():
        other = "adam" if name == "sgd" else "sgd"
        with pytest.raises(ValueError, match=f"the stepper of {name} was given"):
            STEPPERS.get(name)(network, [Candidate(optimizer=other, lr=0.1)])
    with pytest.raises(ValueError, match="too many values"):
        stepper_of(network, [Candidate(lr=0.1), Candidate(optimizer="adam", lr=0.1)])
    with pytest.raises(ValueError, match="no preconditioner"):
        stepper_of(network, [Candidate(lr=0.1)], Preconditioner(second_moment=1.0))


@pytest.mark.parametrize("optimizer", ADAPTIVE, ids=label)
def test_the_differential_equation_is_that_of_sgd(optimizer: Optimizer) -> None:
    candidate = Candidate(optimizer=optimizer, lr=0.1, batch_size=4)
    with pytest.raises(ValueError, match="the stepper of sgd was given"):
        simulate(squared_problem(), SquaredError(), [candidate], [5], num_paths=1, seed=0, target=None, method="sde")


def _real_losses(problem: FrozenBackbone, candidate: Candidate, *, seed: int) -> np.ndarray:
    """Of torch's own optimizer on the head, which is linear in its weights."""
    head = torch.nn.Linear(problem.head.in_features, problem.head.out_features).double()
    head.load_state_dict(problem.head.state_dict())
    optimizer = candidate.optimizer.torch(head.parameters(), candidate.lr)
    rates = candidate.learning_rates(STEPS)
    losses = []
    for step, rows in enumerate(draws(len(problem.labels), candidate, STEPS, seed=seed, path=0)):
        with torch.no_grad():
            losses.append(float(torch.nn.functional.cross_entropy(head(problem.features), problem.labels)))
        optimizer.param_groups[0]["lr"] = rates[step]
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(head(problem.features[rows]), problem.labels[rows]).backward()
        optimizer.step()
    return np.array(losses)


def _simulated_losses(
    tangent: Tangent, candidate: Candidate, known: Preconditioner | None, network: Network, loss: Any, *, seed: int
) -> np.ndarray:
    curves = simulate(
        tangent,
        loss,
        [candidate],
        [STEPS],
        num_paths=1,
        seed=seed,
        target=None,
        record_at=range(STEPS),
        network=network,
        preconditioner=known,
    )
    return curves.train_loss[0, 0, :STEPS]


def _scaled(tangent: Tangent, common: float, divisor: float) -> Tangent:
    """Rows J D₀^−½ for D₀ = ``common``, and updates J D₀^½ D⁻¹ for D = ``divisor``."""
    s = tangent.train
    rows, updates = s.jacobian * common**-0.5, s.jacobian * common**0.5 / divisor
    train = Samples(outputs=s.outputs, jacobian=rows, radial=s.radial, targets=s.targets, updates=updates)
    return Tangent(train=train, position=tangent.position)


@pytest.mark.parametrize("optimizer", [e for e in EXAMPLES if isinstance(e, Sgd)], ids=label)
def test_sgd_equals_torch(optimizer: Optimizer) -> None:
    problem = frozen_backbone()
    candidate = Candidate(optimizer=optimizer, lr=0.05, **SHORT)
    real = _real_losses(problem, candidate, seed=3)
    assert real.min() < 0.9 * real[0]
    found = _simulated_losses(problem.tangent, candidate, None, linear_network(problem.tangent), CrossEntropy(), seed=3)
    np.testing.assert_allclose(found, real, rtol=1e-9)


@pytest.mark.parametrize("optimizer", ADAPTIVE, ids=label)
def test_equals_torch_while_the_preconditioner_stands_still(optimizer: Adaptive) -> None:
    """With weight decay too: D is one number here, so that its treatment is exact."""
    problem = frozen_backbone()
    decoupled = isinstance(optimizer, AdamW)
    lr = 0.02 * EPS * float(optimizer.effective_lr(1.0)) ** -1
    # A decoupled decay is not divided by D.
    decay: float = getattr(optimizer, "weight_decay") * (10.0 / EPS if decoupled else 10.0)  # noqa: B009
    fixed: Any = replace(optimizer, eps=EPS, weight_decay=decay)
    candidate = Candidate(optimizer=fixed, lr=lr * 5.0, **SHORT)
    tangent = _scaled(problem.tangent, 7.0, EPS)
    known = Preconditioner(second_moment=1.0, eps_share=1.0, inverse=1.0 / EPS)
    real = _real_losses(problem, candidate, seed=3)
    assert real.min() < 0.9 * real[0]
    found = _simulated_losses(tangent, candidate, known, PathNetwork([tangent]), CrossEntropy(), seed=3)
    np.testing.assert_allclose(found, real, rtol=2e-4)
    if decay:
        still = _simulated_losses(
            tangent, replace(candidate, weight_decay=0.0), known, PathNetwork([tangent]), CrossEntropy(), seed=3
        )
        # The decay tells by far more than the tolerance above.
        assert np.abs(still / real - 1.0).max() > 5e-3


@pytest.mark.parametrize("batch_size", [4, 32])
@pytest.mark.parametrize("optimizer", ADAPTIVE, ids=label)
def test_equals_torch_where_one_number_is_the_whole_preconditioner(batch_size: int, optimizer: Adaptive) -> None:
    """A single weight: D is one number, here as if a reference had met D = 0.3; the candidate's own is another."""
    own: Any = replace(optimizer, eps=1e-30, weight_decay=0.0)
    candidate = Candidate(optimizer=own, lr=0.02 / own.effective_lr(1.0), **SHORT | {"batch_size": batch_size})
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 1, generator=generator, dtype=torch.float64)
    y = 3.0 * x + torch.randn(64, 1, generator=generator, dtype=torch.float64)
    scale = 0.3
    rows = (x * scale**-0.5)[:, :, None]
    train = Samples(outputs=torch.zeros_like(y), jacobian=rows, radial=torch.zeros_like(y), targets=y, updates=rows)
    tangent = Tangent(train=train, position=torch.zeros(1, dtype=torch.float64))
    known = Preconditioner(second_moment=scale)
    found = _simulated_losses(tangent, candidate, known, PathNetwork([tangent]), SquaredError(), seed=5)
    weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    made = own.torch([weight], candidate.lr)
    rates, real = candidate.learning_rates(STEPS), []
    for step, index in enumerate(draws(64, candidate, STEPS, seed=5, path=0)):
        real.append(float(0.5 * (x * weight - y).square().mean().detach()))
        made.param_groups[0]["lr"] = rates[step]
        made.zero_grad()
        (0.5 * (x[index] * weight - y[index]).square().mean()).backward()
        made.step()
    assert real[-1] < 0.9 * real[0]
    np.testing.assert_allclose(found, real, rtol=1e-9)


@pytest.mark.parametrize("optimizer", [Adam(weight_decay=0.5), RMSprop(weight_decay=0.5, momentum=0.5)], ids=label)
def test_coupled_decay_where_one_number_is_the_whole_preconditioner(optimizer: Adaptive) -> None:
    """A single weight that begins at 2 and decays, with a gradient that is always zero: f does not depend on it."""
    start, scale = 2.0, 0.3
    zero = torch.zeros(4, 1, dtype=torch.float64)
    # Of outputs w − 2 that the loss does not see: rows are zero, the part along the pre-trained weights is read off α.
    train = Samples(outputs=zero, jacobian=zero[:, :, None], radial=zero, targets=zero)
    network = CoordinateNetwork(Tangent(train=train, position=torch.zeros(1, dtype=torch.float64)))
    known = Preconditioner(second_moment=scale, inverse=1.0 / scale, weights=start**2 / scale)
    own: Any = replace(optimizer, eps=1e-30)
    block = stepper_of(network, [Candidate(optimizer=own, lr=0.01, batch_size=4)], known)
    weight = torch.nn.Parameter(torch.full((1,), start, dtype=torch.float64))
    made = own.torch([weight], 0.01)
    for _ in range(30):
        block.step(SquaredError(), network.batch(torch.arange(4)), torch.tensor([[0.01]], dtype=torch.float64))
        weight.grad = torch.zeros_like(weight)
        made.step()
        assert block.alpha is not None
        assert start * (1.0 + float(block.alpha)) == pytest.approx(float(weight.detach()), rel=1e-9)
    assert float(weight.detach()) < 0.99 * start


@pytest.mark.parametrize("name", ["adam", "rmsprop"])
def test_coupled_decay_needs_a_known_preconditioner(name: str) -> None:
    network = linear_network(squared_problem())
    decaying = [Candidate(optimizer=name, lr=0.1, weight_decay=0.1)]
    for known in (None, Preconditioner(second_moment=1.0)):
        with pytest.raises(ValueError, match="needs a known preconditioner"):
            stepper_of(network, decaying, known)
        stepper_of(network, [Candidate(optimizer=name, lr=0.1)], known)


@pytest.mark.parametrize("optimizer", EXAMPLES, ids=label)
def test_rows_that_are_kept_go_on_as_before(optimizer: Optimizer) -> None:
    tangent = squared_problem()
    known = Preconditioner(second_moment=2.0, inverse=0.5) if isinstance(optimizer, Adaptive) else None
    candidates = [Candidate(optimizer=optimizer, lr=0.1, batch_size=4) for _ in range(3)]
    candidates[2] = replace(candidates[2], weight_decay=0.2)

    def walked(keep: bool) -> torch.Tensor:
        network = CoordinateNetwork(tangent)
        block = stepper_of(network, candidates, known)
        rates = torch.tensor([[0.001], [0.002], [0.003]], dtype=torch.float64)
        for step in range(6):
            if keep and step == 3:
                block.keep(torch.tensor([0, 2]))
                rates = rates[[0, 2]]
            block.step(SquaredError(), network.batch(torch.arange(step, step + 4)), rates)
        return block.state

    torch.testing.assert_close(walked(keep=True), walked(keep=False)[[0, 2]], rtol=1e-12, atol=0.0)
