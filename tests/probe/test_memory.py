"""When memory runs out: smaller portions, the same rows to rounding, and a clear end."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import raytt.probe.plan
import raytt.probe.worker
from benchmarks.identity_sketch import IdentitySketch
from raytt.errors import InputError
from raytt.probe.jacobian import jacobian_rows, watch
from raytt.probe.layers.use import Budget
from raytt.probe.memory import Fitting, Portion
from raytt.probe.plan import make_plan, smaller_plan
from tests.support.probe_devices import FULL, INDEX, MIB, SETTINGS, SmallDevice, a_worker, assert_close
from tests.support.probe_networks import CASES
from tests.support.probe_reference import naive_jacobian, network, randomized, shapes


def test_portions_get_smaller_in_turn() -> None:
    portion: Portion | None = Portion(num_samples=6, max_bytes=32 * MIB)
    seen = []
    while portion is not None:
        seen.append((portion.num_samples, portion.max_bytes // MIB))
        assert portion.halvings == len(seen) - 1
        portion = portion.halved()
    assert seen == [(6, 32), (6, 16), (3, 16), (3, 8), (2, 8), (2, 4), (1, 4), (1, 2)]
    assert Portion(num_samples=2, max_bytes=1000).halved() == Portion(num_samples=1, max_bytes=1000, halvings=1)


def test_what_filled_the_memory_is_gone_before_the_next_attempt() -> None:
    held: list[weakref.ref[Tensor]] = []

    def work(portion: Portion) -> str:
        assert not any(ref() is not None for ref in held)
        filling = torch.ones(3)
        cycle: list[Any] = [filling]
        cycle.append(cycle)
        held.append(weakref.ref(filling))
        if portion.num_samples > 1:
            raise torch.OutOfMemoryError(FULL)
        return "done"

    gc.disable()
    try:
        fitting = Fitting(Portion(num_samples=4, max_bytes=8 * MIB), "cuda")
        assert fitting.attempt(work) is None
        assert fitting.portion == Portion(num_samples=4, max_bytes=4 * MIB, halvings=1)
        assert fitting.finish(work) == "done"
    finally:
        gc.enable()
    assert fitting.portion.num_samples == 1
    assert len(held) == 5


def test_other_errors_are_not_tried_again() -> None:
    fitting = Fitting(Portion(num_samples=4, max_bytes=8 * MIB), "cuda")

    def work(_: Portion) -> None:
        raise RuntimeError("CUDA error: device-side assert triggered")

    with pytest.raises(RuntimeError, match="device-side assert"):
        fitting.attempt(work)
    assert fitting.portion.halvings == 0


@pytest.mark.parametrize("most", [5, 3, 1])
def test_a_worker_that_begins_on_a_small_device(most: int) -> None:
    worker = a_worker(SmallDevice(most))
    assert worker.portion.num_samples <= most
    shard = worker.probe(INDEX)
    assert_close(shard, a_worker().probe(INDEX))
    assert shard.halvings is not None
    assert set(shard.halvings) == {worker.portion.halvings} != {0}


def test_memory_that_runs_out_on_the_way() -> None:
    device = SmallDevice()
    worker, whole = a_worker(device), a_worker().probe(INDEX)
    assert worker.probe(INDEX).halvings is None
    np.testing.assert_array_equal(worker.probe(INDEX).rows, whole.rows)

    class Fills(SmallDevice):
        """From the second micro-batch on there is room for three samples only."""

        def __call__(self, model: nn.Module, inputs: Tensor) -> Tensor:
            outputs = super().__call__(model, inputs)
            self.most = 3
            return outputs

    worker._lowered = replace(worker._lowered, forward=Fills())
    shard = worker.probe(INDEX)
    assert_close(shard, whole)
    assert shard.halvings is not None
    # 8 samples as planned, then bytes, samples, bytes, samples: two at a time, for good.
    assert shard.halvings.tolist() == [0] * 8 + [4] * 13
    np.testing.assert_array_equal(shard.rows[:8], whole.rows[:8])
    assert worker.portion == Portion(num_samples=2, max_bytes=16 * MIB, halvings=4)


def test_smaller_transients_alone_if_they_suffice(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = 20 * MIB

    def rows(*args: Any, **options: Any) -> Any:
        (budget,) = (a for a in args if isinstance(a, Budget))
        if budget.max_bytes > limit:
            raise torch.OutOfMemoryError(FULL)
        return jacobian_rows(*args, **options)

    monkeypatch.setattr(raytt.probe.worker, "jacobian_rows", rows)
    worker = a_worker(settings=replace(SETTINGS, max_chunk_bytes=32 * MIB))
    shard = worker.probe(INDEX)
    assert worker.portion == Portion(num_samples=8, max_bytes=16 * MIB, halvings=1)
    # Bits follow from the portion: those of a worker that began with it.
    monkeypatch.undo()
    np.testing.assert_array_equal(
        shard.rows, a_worker(settings=replace(SETTINGS, max_chunk_bytes=16 * MIB)).probe(INDEX).rows
    )


def test_memory_for_not_even_one_sample_is_an_error_with_a_remedy() -> None:
    with pytest.raises(
        InputError,
        match=r"^The device 'cpu' ran out of memory with 1 sample with transients of at most 2 MiB at a time, after 8 "
        r"samples with transients of at most 64 MiB and 8 halvings: CUDA out of memory\. Tried to allocate 2\.00 GiB\. "
        r"Use a device with more memory .* --precision bfloat16\.$",
    ):
        a_worker(SmallDevice(0))
    device = SmallDevice()
    worker = a_worker(device)
    device.most = 0
    with pytest.raises(InputError, match=r"ran out of memory with 1 sample .* after 8 samples"):
        worker.probe(INDEX)


def test_coupled_samples_are_refused_where_only_one_fits() -> None:
    class Coupled(SmallDevice):
        def __call__(self, model: nn.Module, inputs: Tensor) -> Tensor:
            outputs = super().__call__(model, inputs)
            return outputs - outputs.mean(0)

    with pytest.raises(InputError, match="there is no per-sample gradient"):
        a_worker(Coupled(1))


def test_memory_that_runs_out_does_not_change_routes(monkeypatch: pytest.MonkeyPatch) -> None:
    # Whether position embeddings can be repeated per sample is tried out, and failures to are expected.
    case, full = CASES["transformer, batch first"], [torch.OutOfMemoryError(FULL)]

    def once(*args: Any) -> Any:
        if full:
            raise full.pop()
        return watch(*args)

    monkeypatch.setattr(raytt.probe.plan, "watch", once)
    with pytest.raises(torch.OutOfMemoryError):
        make_plan(network(randomized(case.build())), case.inputs(4), 4, Budget(max_bytes=MIB))


@pytest.mark.filterwarnings("ignore:Using padding=.same.")
@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("name", CASES)
def test_a_smaller_plan_keeps_routes_and_rows(name: str, size: int) -> None:
    net, inputs = network(randomized(CASES[name].build())), CASES[name].inputs(size)
    budget = Budget(max_bytes=MIB)
    plan = smaller_plan(net, inputs, make_plan(net, CASES[name].inputs(6), 6, budget), size, budget)
    assert set(plan.generic) == CASES[name].generic
    rows = jacobian_rows(net, inputs, plan, IdentitySketch(shapes(net)), budget).rows
    torch.testing.assert_close(rows, naive_jacobian(net, inputs), rtol=1e-10, atol=1e-10)
