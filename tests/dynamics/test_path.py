"""The path network against the linear one, against outputs with a known shape, and against a network really trained."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from raytt.dynamics.draws import path_seed
from raytt.dynamics.network import CoordinateNetwork
from raytt.dynamics.path import GROWS_FOR, PathNetwork
from raytt.dynamics.simulate import simulate
from raytt.dynamics.tangent import Samples, Tangent
from raytt.task.candidate import Candidate
from raytt.task.losses import CrossEntropy
from raytt.task.minibatches import minibatches
from tests.support.linear_problems import frozen_backbone, squared_problem

CANDIDATES = [
    Candidate(lr=0.05, batch_size=16),
    Candidate(lr=0.02, momentum=0.9, nesterov=True, weight_decay=0.02, batch_size=16),
    Candidate(lr=0.1, max_grad_norm=0.3, batch_size=16),
]


def test_one_tangent_is_the_linear_method() -> None:
    problem = frozen_backbone()
    loss, budgets = CrossEntropy(), [60, 60, 60]
    common = {"num_paths": 2, "seed": 3, "target": None}
    linear = simulate(problem.tangent, loss, CANDIDATES, budgets, network=CoordinateNetwork(problem.tangent), **common)
    path = simulate(problem.tangent, loss, CANDIDATES, budgets, network=PathNetwork([problem.tangent]), **common)
    np.testing.assert_allclose(path.train_loss, linear.train_loss, rtol=1e-12)
    assert path.val_loss is not None
    assert linear.val_loss is not None
    np.testing.assert_allclose(path.val_loss, linear.val_loss, rtol=1e-12)


def test_several_tangents_of_a_linear_network_change_nothing() -> None:
    problem = frozen_backbone()
    start = problem.tangent
    generator = torch.Generator().manual_seed(1)
    tangents = [start]
    for _ in range(2):
        # Points further along the same downhill direction, where a linear network has the same rows.
        residual = CrossEntropy().residual(start.train.outputs, start.train.targets)
        downhill = -torch.einsum("ncr,nc->r", start.train.jacobian, residual) / len(residual)
        move = 0.5 * downhill + 0.01 * torch.randn(downhill.shape, generator=generator, dtype=torch.float64)
        tangents.append(_moved(tangents[-1], move))
    loss, common = CrossEntropy(), {"num_paths": 2, "seed": 3, "target": None}
    linear = simulate(start, loss, CANDIDATES, [80] * 3, **common)
    path = simulate(start, loss, CANDIDATES, [80] * 3, network=PathNetwork(tangents), **common)
    np.testing.assert_allclose(path.train_loss, linear.train_loss, rtol=1e-8)


def _moved(tangent: Tangent, move: Tensor) -> Tangent:
    """A tangent of the same linear network at other weights."""

    def samples(s: Samples) -> Samples:
        return Samples(outputs=s.outputs + s.jacobian @ move, jacobian=s.jacobian, radial=s.radial, targets=s.targets)

    validation = None if tangent.validation is None else samples(tangent.validation)
    return Tangent(train=samples(tangent.train), position=tangent.position + move, validation=validation)


class _Quadratic:
    """f(w) = f₀ + J w + ½ (w·q)² a: outputs that bend along one direction."""

    def __init__(self) -> None:
        base = squared_problem(num_samples=6, num_outputs=2, width=9)
        self.base = base.train
        generator = torch.Generator().manual_seed(4)
        self.direction = torch.randn(9, generator=generator, dtype=torch.float64) / 3.0
        self.bend = torch.randn(6, 2, generator=generator, dtype=torch.float64)

    def outputs(self, weights: Tensor) -> Tensor:
        along = weights @ self.direction
        return self.base.outputs + self.base.jacobian @ weights + 0.5 * along**2 * self.bend

    def tangent(self, weights: Tensor) -> Tangent:
        along = weights @ self.direction
        rows = self.base.jacobian + along * self.bend.unsqueeze(2) * self.direction
        train = Samples(
            outputs=self.outputs(weights), jacobian=rows, radial=self.base.radial, targets=self.base.targets
        )
        return Tangent(train=train, position=weights)


def test_outputs_that_are_quadratic_along_the_path_are_exact_on_it() -> None:
    problem = _Quadratic()
    generator = torch.Generator().manual_seed(5)
    points = [torch.zeros(9, dtype=torch.float64)]
    points += [points[-1] + torch.randn(9, generator=generator, dtype=torch.float64)]
    points += [points[-1] + (points[1] + 0.1 * torch.randn(9, generator=generator, dtype=torch.float64))]
    network = PathNetwork([problem.tangent(w) for w in points])
    batch = network.full_batch()
    # Past the end as well, for as long as features are taken to go on changing.
    for segment, share in ((0, 0.0), (0, 0.3), (0, 1.0), (1, 0.5), (1, 1.0), (1, 1.4), (1, 1.0 + GROWS_FOR)):
        weights = points[segment] + share * (points[segment + 1] - points[segment])
        found = network.outputs(weights.unsqueeze(0), None, batch)[0]
        torch.testing.assert_close(found, problem.outputs(weights), rtol=1e-10, atol=1e-12)
        assert float(network.progress(weights.unsqueeze(0))[0]) == pytest.approx(segment + share, abs=1e-9)


def test_rows_pull_back_with_the_jacobian_where_they_are() -> None:
    problem = _Quadratic()
    end = torch.linspace(0.1, 0.9, 9, dtype=torch.float64)
    network = PathNetwork([problem.tangent(w) for w in (torch.zeros_like(end), end)])
    # Rows of four candidates at once: at the start, half-way, past the end, and where features stand still.
    places = (0.0, 0.5, 1.0 + 0.5 * GROWS_FOR, 3.0 + GROWS_FOR)
    state = torch.stack([place * end for place in places])
    batch = network.batch(torch.tensor([4, 1]))
    residual = network.outputs(state, None, batch) - batch.targets
    found = network.zeros(len(places))
    network.accumulate(found, residual, batch, 0.5)
    for row, place in enumerate(places):
        # Rows of outputs that are quadratic change linearly with the weights.
        rows = problem.tangent(min(place, 1.0 + GROWS_FOR) * end).train.jacobian[[4, 1]]
        expected = 0.5 * torch.einsum("bc,bcr->r", residual[row], rows)
        torch.testing.assert_close(found[row], expected)


def _naive(tangents: Sequence[Tangent], state: Tensor, alpha: float, index: Tensor) -> tuple[Tensor, Tensor, float]:
    """Outputs, Jacobian and place of one row: the formulas of `raytt.dynamics.path`, one after the other."""
    samples = [t.train for t in tangents]
    place, s = 0.0, 0
    for s in range(len(tangents) - 1):
        here, there = tangents[s], tangents[s + 1]
        move = there.position - here.position
        gauge = torch.einsum(
            "nc,ncr->r", there.train.outputs - here.train.outputs, 0.5 * (here.train.jacobian + there.train.jacobian)
        )
        along = state - here.position
        place = float(0.5 * (along @ gauge) / (move @ gauge) + 0.5 * (along @ move) / (move @ move))
        if place < 1.0:
            break
    share = max(place, 0.0)
    within, beyond = min(share, 1.0), max(share - 1.0, 0.0)
    grows = min(beyond, GROWS_FOR)
    a, b, move = samples[s], samples[s + 1], tangents[s + 1].position - tangents[s].position
    jacobian = a.jacobian + (within + grows) * (b.jacobian - a.jacobian)
    outputs = (
        (2 * within**3 - 3 * within**2 + 1) * a.outputs
        + (3 * within**2 - 2 * within**3) * b.outputs
        + (within**3 - 2 * within**2 + within) * (a.jacobian @ move)
        + (within**3 - within**2) * (b.jacobian @ move)
        + beyond * (b.jacobian @ move)
        + (grows * grows / 2 + GROWS_FOR * (beyond - grows)) * ((b.jacobian - a.jacobian) @ move)
    )
    outputs = outputs + jacobian @ (state - tangents[s].position - share * move)
    outputs = outputs + alpha * (a.radial + (within + grows) * (b.radial - a.radial))
    return outputs[index], jacobian[index], s + share


def test_rows_in_any_order_are_those_of_a_naive_loop() -> None:
    generator = torch.Generator().manual_seed(7)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    start, positions = squared_problem(num_samples=6, num_outputs=2, width=9).train, [drawn(9) * 0.0]
    tangents = []
    for _ in range(4):
        rows = start.jacobian + 0.1 * drawn(6, 2, 9)
        outputs = start.outputs + rows @ positions[-1] + 0.1 * drawn(6, 2)
        train = Samples(outputs=outputs, jacobian=rows, radial=drawn(6, 2), targets=start.targets)
        tangents.append(Tangent(train=train, position=positions[-1]))
        positions.append(positions[-1] + torch.ones(9, dtype=torch.float64) + 0.3 * drawn(9))
    network = PathNetwork(tangents)
    # Behind the start, on every segment in no order, at its end, a little and far past the end.
    where = torch.tensor([2.4, 0.1, 1.0, 1.7, -0.5, 5.5, 0.9, 3.3], dtype=torch.float64)
    state = where.unsqueeze(1) * positions[1] + 0.1 * drawn(len(where), 9)
    alpha = 0.1 * drawn(len(where))
    for index in (torch.tensor([4, 1, 1]), torch.arange(6)):
        batch = network.batch(index) if len(index) == 3 else network.full_batch()
        found = network.outputs(state, alpha, batch)
        residual = drawn(*found.shape)
        pulled = 0.5 * torch.ones_like(state)
        network.accumulate(pulled, residual, batch, 0.3)
        for row in range(len(where)):
            outputs, jacobian, place = _naive(tangents, state[row], float(alpha[row]), index)
            torch.testing.assert_close(found[row], outputs)
            torch.testing.assert_close(pulled[row], 0.5 + 0.3 * torch.einsum("bc,bcr->r", residual[row], jacobian))
            assert float(network.progress(state)[row]) == pytest.approx(place)
    assert len({int(p) for p in network.progress(state)}) >= 4


def test_features_that_stand_still_leave_outputs_straight() -> None:
    problem = _Quadratic()
    end = torch.linspace(0.1, 0.9, 9, dtype=torch.float64)
    network = PathNetwork([problem.tangent(w) for w in (torch.zeros_like(end), end)])
    still, step = (1.0 + GROWS_FOR) * end, 0.7 * end
    found = network.outputs(torch.stack([still, still + step]), None, network.full_batch())
    torch.testing.assert_close(found[1] - found[0], problem.tangent(still).train.jacobian @ step)


def test_path_comes_closer_to_real_training_than_one_tangent() -> None:
    """A small tanh network whose features move: trained for real, predicted from its own path at other settings."""
    network, inputs, targets = _tanh_network()
    reference = _train(network, inputs, targets, lr=0.05, momentum=0.9, steps=60, keep=(0, 20, 40, 60))
    start = reference[0][1]
    tangents = [_tangent_of(network, weights, weights - start, inputs, targets) for _, weights in reference]
    candidate = Candidate(lr=0.2, batch_size=16)
    real = _losses(network, inputs, targets, lr=0.2, momentum=0.0, steps=150)
    common = {"num_paths": 1, "seed": 0, "target": None, "record_at": range(151)}
    path = simulate(
        tangents[0], CrossEntropy(), [candidate], [150], network=PathNetwork(tangents), **common
    ).train_loss[0, 0]
    linear = simulate(tangents[0], CrossEntropy(), [candidate], [150], **common).train_loss[0, 0]
    level = 0.2 * real[0]
    steps = [int(np.argmax(curve <= level)) for curve in (real, path, linear)]
    assert min(steps) > 0
    errors = [abs(np.log(found / steps[0])) for found in steps[1:]]
    assert errors[1] > 2.0 * errors[0]


@pytest.mark.parametrize(("lr", "momentum", "steps"), [(0.05, 0.9, 60), (0.1, 0.0, 200)])
def test_a_run_on_its_own_path_converges_to_itself_as_tangents_get_denser(
    lr: float, momentum: float, steps: int
) -> None:
    network, inputs, targets = _tanh_network()
    real = _losses(network, inputs, targets, lr=lr, momentum=momentum, steps=steps)
    errors = []
    for segments in (1, 2, 4, 8):
        keep = [round(steps * k / segments) for k in range(segments + 1)]
        path = _train(network, inputs, targets, lr=lr, momentum=momentum, steps=steps, keep=keep)
        tangents = [_tangent_of(network, weights, weights - path[0][1], inputs, targets) for _, weights in path]
        found = simulate(
            tangents[0],
            CrossEntropy(),
            [Candidate(lr=lr, momentum=momentum, batch_size=16)],
            [steps],
            network=PathNetwork(tangents),
            num_paths=1,
            seed=0,
            target=None,
            record_at=range(steps + 1),
        ).train_loss[0, 0]
        errors.append(float(np.sqrt(np.mean(np.square(np.log(found / real))))))
    assert errors[1] < 0.7 * errors[0]
    assert errors[2] < 0.5 * errors[1]
    assert errors[3] < errors[2]
    assert errors[3] < 0.03


def _tanh_network() -> tuple[nn.Sequential, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(11)
    centres = 1.5 * torch.randn(4, 8, generator=generator, dtype=torch.float64)
    targets = torch.arange(64) % 4
    inputs = centres[targets] + torch.randn(64, 8, generator=generator, dtype=torch.float64)
    with torch.random.fork_rng():
        torch.manual_seed(2)
        network = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 4)).double()
    with torch.no_grad():
        for p in network.parameters():
            p.mul_(0.3)
    return network, inputs, targets


def _call(network: nn.Sequential, weights: Tensor, inputs: Tensor) -> Tensor:
    parts: dict[str, Tensor] = {}
    start = 0
    for name, p in network.named_parameters():
        parts[name] = weights[start : start + p.numel()].view(p.shape)
        start += p.numel()
    outputs: Tensor = torch.func.functional_call(network, parts, (inputs,))
    return outputs


def _tangent_of(network: nn.Sequential, weights: Tensor, moved: Tensor, inputs: Tensor, targets: Tensor) -> Tangent:
    rows = torch.func.jacrev(lambda w: _call(network, w, inputs))(weights)
    outputs = _call(network, weights, inputs)
    train = Samples(outputs=outputs, jacobian=rows, radial=torch.zeros_like(outputs), targets=targets)
    return Tangent(train=train, position=moved)


def _train(
    network: nn.Sequential,
    inputs: Tensor,
    targets: Tensor,
    *,
    lr: float,
    momentum: float,
    steps: int,
    keep: Sequence[int],
) -> list[tuple[int, Tensor]]:
    weights = torch.cat([p.detach().reshape(-1) for p in network.parameters()]).requires_grad_()
    optimizer = torch.optim.SGD([weights], lr=lr, momentum=momentum)
    kept = []
    for step, rows in enumerate([*minibatches(len(inputs), 16, steps, path_seed(0, 0)), None]):
        if step in keep:
            kept.append((step, weights.detach().clone()))
        if rows is None:
            break
        optimizer.zero_grad()
        nn.functional.cross_entropy(_call(network, weights, inputs[rows]), targets[rows]).backward()
        optimizer.step()
    return kept


def _losses(network: nn.Sequential, inputs: Tensor, targets: Tensor, **settings: float) -> np.ndarray:
    steps = int(settings["steps"])
    kept = _train(network, inputs, targets, keep=range(steps + 1), **{**settings, "steps": steps})
    with torch.no_grad():
        return np.array([float(nn.functional.cross_entropy(_call(network, w, inputs), targets)) for _, w in kept])
