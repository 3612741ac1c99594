"""Routes: what is refused, what falls back to the generic route, and that nothing wrong passes the check."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.identity_sketch import IdentitySketch
from raytt.errors import InputError
from raytt.probe.jacobian import jacobian_rows
from raytt.probe.layers import RULES
from raytt.probe.layers.linear import LinearUse
from raytt.probe.layers.use import Budget
from raytt.probe.plan import make_plan, micro_batch_size
from tests.support.probe_networks import CASES
from tests.support.probe_reference import naive_jacobian, network, randomized, shapes

N = 4
BUDGET = Budget(max_bytes=1 << 20)
X = torch.randn(N, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def mlp() -> nn.Module:
    return randomized(nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)))


class _Broken(LinearUse):
    def contract(self, grads: Sequence[Tensor], *rest: Any) -> None:
        wrong = [part.clone() for part in grads]
        for part in wrong:
            part[:, :, 0] *= 1.01
        super().contract(wrong, *rest)


def test_a_wrong_rule_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    # One unit's gradient off by a hundredth: the check against autograd must notice, and the rows must stay right.
    def rule(out: Tensor, locate: Callable[[object], Any], input: Tensor, weight: Tensor, bias: Tensor) -> _Broken:
        return _Broken(input, out, locate(weight), locate(bias))

    monkeypatch.setitem(RULES, nn.functional.linear, rule)
    net = network(mlp())
    plan = make_plan(net, X, N, BUDGET)
    assert set(plan.generic) == set(net.trainable)
    assert "failed the check" in plan.generic["0.weight"]
    rows = jacobian_rows(net, X, plan, IdentitySketch(shapes(net)), BUDGET).rows
    torch.testing.assert_close(rows, naive_jacobian(net, X))


def test_coupled_samples_are_refused() -> None:
    net = network(mlp(), forward=lambda m, x: m(x) - m(x).mean(0))
    with pytest.raises(InputError, match=r"change by .* there is no per-sample gradient"):
        make_plan(net, X, N, BUDGET)


def test_batch_statistics_are_refused() -> None:
    module = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)).double()
    net = network(module)
    module.train()
    with pytest.raises(InputError, match="cannot be run on a single sample"):
        make_plan(net, X, N, BUDGET)


def test_randomness_is_refused() -> None:
    net = network(mlp(), forward=lambda m, x: m(nn.functional.dropout(x, 0.5, training=True)))
    with pytest.raises(InputError, match="or from one pass to the next"):
        make_plan(net, X, N, BUDGET)


def test_outputs_without_a_gradient_are_refused() -> None:
    net = network(mlp(), forward=lambda m, x: m(x).detach())
    with pytest.raises(InputError, match="do not depend on any trainable parameter"):
        make_plan(net, X, N, BUDGET)


def test_three_dimensional_outputs_are_refused() -> None:
    net = network(mlp(), forward=lambda m, x: m(x).unsqueeze(1))
    with pytest.raises(InputError, match=r"shape \(4, 1, 3\)"):
        make_plan(net, X, N, BUDGET)


def test_unused_parameters_have_zero_columns_and_stay_fast() -> None:
    module = randomized(nn.ModuleDict({"used": nn.Linear(5, 3), "unused": nn.Linear(5, 3)}))
    net = network(module, forward=lambda m, x: m["used"](x))
    plan = make_plan(net, X, N, BUDGET)
    assert not plan.generic
    rows = jacobian_rows(net, X, plan, IdentitySketch(shapes(net)), BUDGET).rows
    torch.testing.assert_close(rows, naive_jacobian(net, X))
    assert float(rows[..., 18:].abs().max()) == 0.0


def test_a_zero_head_leaves_the_body_without_gradient() -> None:
    module = mlp()
    nn.init.zeros_(module[2].weight)
    net = network(module)
    plan = make_plan(net, X, N, BUDGET)
    assert not plan.generic
    rows = jacobian_rows(net, X, plan, IdentitySketch(shapes(net)), BUDGET).rows
    torch.testing.assert_close(rows, naive_jacobian(net, X))


def test_one_sample_per_micro_batch() -> None:
    for name in ("transformer, sequence first", "conv2d grouped", "bare parameters"):
        case = CASES[name]
        net, inputs = network(randomized(case.build())), case.inputs(1)
        plan = make_plan(net, inputs, 1, BUDGET)
        rows = jacobian_rows(net, inputs, plan, IdentitySketch(shapes(net)), BUDGET).rows
        torch.testing.assert_close(rows, naive_jacobian(net, inputs), rtol=1e-10, atol=1e-10)


class _Experts(nn.Module):
    """Samples with a positive first feature go through another layer: how many do differs from batch to batch."""

    def __init__(self) -> None:
        super().__init__()
        self.expert = nn.Linear(5, 5)
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        chosen = x[:, 0] > 0
        y = torch.zeros_like(x)
        y[chosen] = self.expert(x[chosen])
        return self.head(torch.tanh(y + x))


@pytest.mark.parametrize("chosen", [0, 2, N])
def test_data_dependent_use_is_right_in_later_batches(chosen: int) -> None:
    net = network(randomized(_Experts()))
    first = X.clone()
    first[:, 0] = torch.where(torch.arange(N) < chosen, 1.0, -1.0)
    plan = make_plan(net, first, N, BUDGET)
    for count in range(N + 1):
        later = X.flip(0).clone()
        later[:, 0] = torch.where(torch.arange(N) >= N - count, 0.7, -0.3)
        rows = jacobian_rows(net, later, plan, IdentitySketch(shapes(net)), BUDGET).rows
        torch.testing.assert_close(rows, naive_jacobian(net, later), rtol=1e-10, atol=1e-10)


def test_micro_batch_size_follows_the_budget() -> None:
    # Results of trainable layers: 6 + 3 values per sample in double precision, times 3 outputs: 216 bytes per sample.
    net, inputs = network(mlp()), X.repeat(4, 1)
    assert micro_batch_size(net, inputs, 16, Budget(max_bytes=216 * 16)) == 16
    assert micro_batch_size(net, inputs, 16, Budget(max_bytes=216 * 15)) == 8
    assert micro_batch_size(net, inputs, 16, Budget(max_bytes=216 * 5)) == 4
    assert micro_batch_size(net, inputs, 16, Budget(max_bytes=1)) == 2
    assert micro_batch_size(net, inputs, 1, Budget(max_bytes=1)) == 1
