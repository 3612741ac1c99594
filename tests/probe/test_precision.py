"""Passes in bfloat16: rows are those of float32 to its rounding, and what adds up does so in float32."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks.identity_sketch import IdentitySketch
from raytt.errors import InputError
from raytt.probe.jacobian import jacobian_rows, watch
from raytt.probe.layers.use import Budget
from raytt.probe.plan import make_plan
from raytt.probe.precision import in_precision, plain_convolutions
from raytt.probe.settings import ProbeSettings
from raytt.probe.sketch import CountSketch, project
from raytt.probe.worker import ProbeWorker
from raytt.task.task import Task
from raytt.training.model import PreparedModel
from tests.support.probe_networks import CASES
from tests.support.probe_reference import naive_jacobian, network, randomized, shapes

N = 4
BUDGET = Budget(max_bytes=1 << 20)
U = 2.0**-8
"""Relative rounding of bfloat16, which has 8 significant bits."""
ROUNDINGS = 6 * 4
"""Of inputs, weights and results, forward and backward, in at most four layers one after the other."""
BOUND = ROUNDINGS**0.5 * U
"""Relative error of rows: independent roundings of at most U each add up in squares."""


def relative(wrong: Tensor, right: Tensor) -> float:
    return float((wrong - right).norm() / right.norm())


def lowered(net: PreparedModel) -> PreparedModel:
    return in_precision(net, "bfloat16", "cpu")


def flat(net: PreparedModel) -> Tensor:
    return torch.cat([p.detach().reshape(-1) for p in net.trainable.values()])


@pytest.mark.filterwarnings("ignore:Using padding=.same.", "ignore:Mismatch dtype between input and weight")
@pytest.mark.parametrize("name", sorted(CASES.keys() - {"no rule"}))
def test_rows_are_those_of_float32_to_the_rounding_of_bfloat16(name: str) -> None:
    case = CASES[name]
    net, inputs = network(randomized(case.build()).float()), case.inputs(N)
    inputs = inputs.float() if inputs.is_floating_point() else inputs
    plan, sketch = make_plan(net, inputs, N, BUDGET), IdentitySketch(shapes(net))
    exact = jacobian_rows(net, inputs, plan, sketch, BUDGET)
    rough = jacobian_rows(lowered(net), inputs, plan, sketch, BUDGET)

    assert set(plan.generic) == case.generic
    assert watch(lowered(net), inputs, plan)[2] <= case.generic
    assert {t.dtype for t in vars(rough).values()} == {torch.float32}
    assert {p.dtype for p in net.trainable.values()} == {torch.float32}
    # Not less than a sixteenth of one rounding: then it would not have run in bfloat16 at all.
    assert U / 16 < relative(rough.rows, exact.rows) < BOUND
    assert relative(rough.outputs, exact.outputs) < BOUND
    # Θ + δ = (Z + ζ)(Z + ζ)ᵀ: twice the error of rows.
    gram, rough_gram = (z @ z.T for z in (exact.rows.flatten(0, 1), rough.rows.flatten(0, 1)))
    assert relative(rough_gram, gram) < 2 * BOUND
    # Both are computed from the same bfloat16 gradients, but separately: they agree as float32 does.
    expected = rough.rows @ flat(net)
    torch.testing.assert_close(rough.radial, expected, rtol=1e-5, atol=1e-6 * float(expected.abs().max()))


class _Positions(nn.Module):
    """Σ over positions of a layer's results: each position adds 1 to the gradients if inputs are ones."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x).flatten(1).sum(1, keepdim=True)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [(nn.Linear(1, 1), (1001, 1)), (nn.Conv1d(1, 1, 1), (1, 1001)), (nn.Conv2d(1, 1, 1), (1, 7, 143))],
    ids=["linear", "conv1d", "conv2d"],
)
@pytest.mark.parametrize("max_bytes", [1 << 20, 512], ids=["at once", "in parts"])
def test_sums_over_positions_keep_what_bfloat16_would_lose(
    layer: nn.Module, shape: tuple[int, ...], max_bytes: int
) -> None:
    net, inputs = network(_Positions(layer)), torch.ones(2, *shape)
    budget = Budget(max_bytes=max_bytes)
    plan = make_plan(net, inputs, 2, budget)
    rows = jacobian_rows(lowered(net), inputs, plan, IdentitySketch(shapes(net)), budget).rows
    assert rows.unique().tolist() == [1001.0]
    # Multiples of 4 are all that bfloat16 has there, and what autograd gives.
    assert naive_jacobian(lowered(net), inputs).unique().tolist() == [1000.0]


def test_sketches_keep_what_bfloat16_would_lose() -> None:
    inputs = torch.full((2, 1001), 1 + 2.0**-7)  # exact in bfloat16, unlike sums of them
    net = network(nn.Linear(1001, 1, bias=False))
    plan, sketch = make_plan(net, inputs, 2, BUDGET), CountSketch(1, 0)
    rows = jacobian_rows(lowered(net), inputs, plan, sketch, BUDGET).rows
    expected = project(sketch, {"weight": inputs[:1]})
    assert rows[0, 0].double().equal(expected)
    assert not expected.bfloat16().double().equal(expected)


class _UsedTwice(nn.Module):
    """∂f/∂w = 256 + 1, by a product with a matrix per sample, for which there is no rule."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, 3, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = x.unsqueeze(0)
        return (256 * torch.matmul(x, self.weight) + torch.matmul(x, self.weight)).squeeze(0)


def test_uses_on_the_generic_route_add_up_in_float32() -> None:
    net, inputs = network(_UsedTwice()), torch.ones(2, 3)
    plan = make_plan(net, inputs, 2, BUDGET)
    assert set(plan.generic) == {"weight"}
    rows = jacobian_rows(lowered(net), inputs, plan, IdentitySketch(shapes(net)), BUDGET).rows
    assert rows.unique().tolist() == [257.0]


def test_rows_of_bfloat16_weights_add_up_in_float32() -> None:
    # The network's own type is narrow: everything but its passes is wide all the same.
    net = network(randomized(CASES["frames, sample-major"].build()).bfloat16())
    inputs = CASES["frames, sample-major"].inputs(N).bfloat16()
    plan = make_plan(net, inputs, N, BUDGET)
    assert not plan.generic
    result = jacobian_rows(net, inputs, plan, IdentitySketch(shapes(net)), BUDGET)
    expected = result.rows @ flat(net).float()
    torch.testing.assert_close(result.radial, expected, rtol=1e-5, atol=1e-6 * float(expected.abs().max()))


def test_float32_is_the_network_itself() -> None:
    net = network(nn.Linear(2, 2))
    assert in_precision(net, "float32", "cpu") is net


def test_a_network_that_autocast_cannot_run_is_refused_with_a_remedy() -> None:
    net = network(randomized(CASES["no rule"].build()).float())
    with pytest.raises(InputError, match=r"torch\.autocast to bfloat16 \(.*same dtype.*--precision float32"):
        lowered(net).forward(net.module, CASES["no rule"].inputs(N).float())


def test_memory_that_runs_out_is_not_taken_for_that() -> None:
    def forward(*_: Any) -> Tensor:
        raise torch.OutOfMemoryError("full")

    net = network(nn.Linear(2, 2), forward)
    with pytest.raises(torch.OutOfMemoryError):
        lowered(net).forward(net.module, torch.ones(1, 2))


SETTINGS = ProbeSettings(proj_dim=64, block_size=5)
LOW = replace(SETTINGS, precision="bfloat16")
INDEX = np.arange(10)


def _task(name: str) -> Task:
    def model() -> nn.Module:
        return randomized(CASES[name].build()).float()

    inputs = CASES[name].inputs(len(INDEX))
    inputs = inputs.float() if inputs.is_floating_point() else inputs
    return Task(mode="eval", name="t", model=model, data=(inputs, torch.arange(len(INDEX)) % 3))


@pytest.mark.parametrize("name", ["conv2d", "transformer, batch first"])
def test_a_worker_in_bfloat16(name: str) -> None:
    exact = ProbeWorker(_task(name), SETTINGS, INDEX).probe(INDEX)
    worker = ProbeWorker(_task(name), LOW, INDEX)
    rough = worker.probe(INDEX)
    assert {a.dtype for a in (rough.rows, rough.outputs, rough.radial)} == {np.dtype(np.float32)}
    assert not np.array_equal(rough.rows, exact.rows)
    # The sketch of 64 numbers keeps the norm of the difference within some 20 %, tighter than the bound needs.
    assert relative(torch.tensor(rough.rows), torch.tensor(exact.rows)) < BOUND

    other = ProbeWorker(_task(name), LOW, INDEX)
    halves = [other.probe(INDEX[5:]), other.probe(INDEX[:5])]
    np.testing.assert_array_equal(np.concatenate([halves[1].rows, halves[0].rows]), rough.rows)


def test_the_user_is_told_what_it_changes() -> None:
    worker = ProbeWorker(_task("conv2d"), LOW, INDEX)
    (note,) = worker.facts().notes
    exact, rough = ProbeWorker(_task("conv2d"), SETTINGS, INDEX).probe(INDEX[:5]), worker.probe(INDEX[:5])
    outputs, rows = (
        np.linalg.norm(b - a) / np.linalg.norm(a) for a, b in ((exact.outputs, rough.outputs), (exact.rows, rough.rows))
    )
    assert note == (
        f"The probe ran the network in bfloat16: on 5 samples outputs are off by {outputs:.2%} and Jacobian rows by "
        f"{rows:.2%} (norm of the difference to float32)."
    )
    assert ProbeWorker(_task("conv2d"), SETTINGS, INDEX).facts().notes == ()


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(InputError, match=r"^precision is 'float8'\. Use one of: float32, bfloat16\.$"):
        ProbeSettings(precision="float8")  # type: ignore[arg-type]


def test_convolutions_are_plain_on_cuda_only() -> None:
    cudnn = torch.backends.cudnn
    before = (cudnn.allow_tf32, cudnn.deterministic)
    assert before == (True, False)
    with plain_convolutions("cpu"):
        assert (cudnn.allow_tf32, cudnn.deterministic) == before
    with plain_convolutions("cuda:0"):
        assert (cudnn.allow_tf32, cudnn.deterministic) == (False, True)
    assert (cudnn.allow_tf32, cudnn.deterministic) == before
