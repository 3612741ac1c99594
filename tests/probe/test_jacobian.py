"""Jacobian rows of every kind of layer against a naive loop of autograd, unprojected and sketched."""

from __future__ import annotations

import hypothesis
import pytest
import torch
from hypothesis import strategies
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.identity_sketch import IdentitySketch
from raytt.errors import InputError
from raytt.probe.jacobian import jacobian_rows
from raytt.probe.layers.use import Budget
from raytt.probe.plan import make_plan
from raytt.probe.sketch import CountSketch
from raytt.training.model import PreparedModel
from tests.support.probe_networks import CASES
from tests.support.probe_reference import naive_jacobian, network, randomized, shapes

N = 4
EXACT = 1e-10
"""Both routes run in double precision and add a few hundred terms: four digits over rounding."""
ROOMY = Budget(max_bytes=1 << 20)


def rows_of(net: PreparedModel, inputs: Tensor, budget: Budget = ROOMY) -> Tensor:
    plan = make_plan(net, inputs, len(inputs), budget)
    return jacobian_rows(net, inputs, plan, IdentitySketch(shapes(net)), budget).rows


# Torch warns that an even kernel with padding="same" copies its input.
@pytest.mark.filterwarnings("ignore:Using padding=.same.")
@pytest.mark.parametrize("name", CASES)
def test_rows_are_exact_and_on_the_expected_route(name: str) -> None:
    case = CASES[name]
    net, inputs = network(randomized(case.build())), case.inputs(N)
    plan = make_plan(net, inputs, N, ROOMY)
    assert set(plan.generic) == case.generic, dict(plan.generic)

    result = jacobian_rows(net, inputs, plan, IdentitySketch(shapes(net)), ROOMY)

    expected = naive_jacobian(net, inputs)
    scale = float(expected.abs().max())
    torch.testing.assert_close(result.rows, expected, rtol=EXACT, atol=EXACT * scale)
    torch.testing.assert_close(result.outputs, net.forward(net.module, inputs).detach(), rtol=EXACT, atol=EXACT)
    flat = torch.cat([p.detach().reshape(-1) for p in net.trainable.values()])
    torch.testing.assert_close(result.radial, expected @ flat, rtol=EXACT, atol=EXACT * scale)


@pytest.mark.filterwarnings("ignore:Using padding=.same.")
@pytest.mark.parametrize("name", CASES)
def test_sketched_inner_products_are_within_their_bound(name: str) -> None:
    case = CASES[name]
    net, inputs = network(randomized(case.build())), case.inputs(N)
    R, seeds = 64, 16
    plan = make_plan(net, inputs, N, ROOMY)
    exact = naive_jacobian(net, inputs).flatten(0, 1)
    variance_bound = 2 / R * torch.outer(exact.square().sum(1), exact.square().sum(1))

    ratios = []
    for seed in range(seeds):
        rows = jacobian_rows(net, inputs, plan, CountSketch(R, seed), ROOMY).rows.flatten(0, 1)
        ratios.append((rows @ rows.T - exact @ exact.T).square() / variance_bound)

    # E(error²) ≤ 2‖u‖²‖v‖²/R for each pair. Rows of one network collide together, so the mean over pairs of a single
    # seed still scatters, between 0 and about 4 around 0.4; over 16 seeds it stays within 1. Zero would mean no sketch.
    ratio = float(torch.stack(ratios).mean())
    assert 0.01 < ratio < 1.0


def test_sketch_of_a_network_is_the_sketch_of_its_rows() -> None:
    # The same map that positions are projected with: each row of J must come out as Sᵀ of that row.
    case = CASES["transformer, batch first"]
    net, inputs = network(randomized(case.build())), case.inputs(N)
    sketch = CountSketch(50, 2)
    rows = jacobian_rows(net, inputs, make_plan(net, inputs, N, ROOMY), sketch, ROOMY).rows
    exact = naive_jacobian(net, inputs)
    sizes = [p.numel() for p in net.trainable.values()]
    buffer = torch.zeros(*exact.shape[:2], sketch.buffer_dim, dtype=exact.dtype)
    for name, part in zip(net.trainable, exact.split(sizes, dim=-1), strict=True):
        sketch.accumulate(buffer, name, 0, part)
    torch.testing.assert_close(rows, sketch.finish(buffer), rtol=EXACT, atol=EXACT)


@pytest.mark.parametrize(
    "name", ["conv2d grouped", "conv2d depthwise", "frames, frame-major", "transposed weight", "tied"]
)
@pytest.mark.parametrize("max_bytes", [1, 3000])
def test_small_budgets_only_change_rounding(name: str, max_bytes: int) -> None:
    # One output, one row of one image, one weight row at a time against all at once.
    case = CASES[name]
    net, inputs = network(randomized(case.build())), case.inputs(N)
    tight = Budget(max_bytes=max_bytes, tile_bytes=max_bytes, tile_rows=1)
    torch.testing.assert_close(rows_of(net, inputs, tight), rows_of(net, inputs), rtol=EXACT, atol=EXACT)


# Forward-mode differentiation compiles its decompositions.
@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")
def test_radial_uses_the_anchor() -> None:
    case = CASES["transformer, sequence first"]
    net, inputs = network(randomized(case.build())), case.inputs(N)
    anchor = {name: p.detach() + 1.0 for name, p in net.trainable.items()}
    anchor["tokens.weight"][0] = 0.0  # the padding token has no gradient in backward mode, but one in forward mode
    plan = make_plan(net, inputs, N, ROOMY)
    result = jacobian_rows(net, inputs, plan, CountSketch(4, 0), ROOMY, anchor=anchor)

    def outputs(weights: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(net.module, weights, (inputs,))

    present = {name: p.detach() for name, p in net.trainable.items()}
    with sdpa_kernel(SDPBackend.MATH):  # the fused attention has no forward mode
        _, expected = torch.func.jvp(outputs, (present,), (anchor,))
    torch.testing.assert_close(result.radial, expected, rtol=EXACT, atol=EXACT * float(expected.abs().max()))


@pytest.mark.parametrize("trainable", ["body.0.weight", "body.0.bias", "body.1.weight", "body.1.bias", "head.bias"])
def test_only_trainable_parameters_have_columns(trainable: str) -> None:
    net = network(randomized(CASES["batch norm"].build()), trainable=trainable)
    inputs = CASES["batch norm"].inputs(N)
    assert list(net.trainable) == [trainable]
    plan = make_plan(net, inputs, N, ROOMY)
    assert not plan.generic
    result = jacobian_rows(net, inputs, plan, IdentitySketch(shapes(net)), ROOMY)
    expected = naive_jacobian(net, inputs)
    torch.testing.assert_close(result.rows, expected, rtol=EXACT, atol=EXACT)
    torch.testing.assert_close(result.radial, expected @ net.trainable[trainable].detach().reshape(-1))


def test_padding_samples_are_cut() -> None:
    case = CASES["recurrent"]
    net, inputs = network(randomized(case.build())), case.inputs(N)
    plan = make_plan(net, inputs, N, ROOMY)
    whole = jacobian_rows(net, inputs, plan, CountSketch(16, 0), ROOMY)
    cut = jacobian_rows(net, inputs, plan, CountSketch(16, 0), ROOMY, count=3)
    for have, want in ((cut.outputs, whole.outputs), (cut.rows, whole.rows), (cut.radial, whole.radial)):
        assert torch.equal(have, want[:3])


def test_a_changed_output_width_is_refused() -> None:
    net = network(nn.Linear(3, 2))
    plan = make_plan(net, torch.randn(N, 3), N, ROOMY)
    wider = PreparedModel(
        module=net.module, forward=lambda m, x: m(x).repeat(1, 2), trainable=net.trainable, groups=(), notes=net.notes
    )
    with pytest.raises(InputError, match=r"\(4, 4\), but \(4, 2\)"):
        jacobian_rows(wider, torch.randn(N, 3), plan, CountSketch(4, 0), ROOMY)


@hypothesis.settings(max_examples=25, deadline=None)
@hypothesis.given(
    seed=strategies.integers(0, 2**32), width=strategies.integers(1, 9), proj_dim=strategies.integers(1, 40)
)
def test_gram_is_positive_semidefinite(seed: int, width: int, proj_dim: int) -> None:
    net = network(randomized(nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Linear(width, 2)), seed))
    inputs = torch.randn(N, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    plan = make_plan(net, inputs, N, ROOMY)
    rows = jacobian_rows(net, inputs, plan, CountSketch(proj_dim, seed), ROOMY).rows.flatten(0, 1)
    gram = rows @ rows.T
    lowest = float(torch.linalg.eigvalsh(gram)[0])
    assert lowest >= -1e-12 * float(gram.diagonal().sum())
    assert int(torch.linalg.matrix_rank(gram)) <= min(proj_dim, 2 * N)
