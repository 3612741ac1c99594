from __future__ import annotations

from dataclasses import replace

import pytest

from raytt.pricing.catalog import Offer
from raytt.pricing.hardware import accelerators
from raytt.pricing.machine import Timing, machines
from raytt.pricing.step_time import Origin, StepTime
from raytt.pricing.terms import THIS_MACHINE, OwnTime, Terms
from raytt.pricing.transfer import from_work, transfer
from raytt.pricing.work import StepWork

L4 = Offer(
    cloud="c",
    instance_type="l4",
    accelerator="L4",
    accelerator_count=1,
    region="r",
    usd_per_hour=1.0,
    as_of="2026-09-06",
    source="s",
)
H100 = replace(L4, instance_type="h100", accelerator="H100", accelerator_count=8, usd_per_hour=50.0)
ODD = replace(L4, instance_type="odd", accelerator="X1")
WORK = {
    b: StepWork(
        batch_size=b, conv_flops=0.0, other_flops=1e12 * b, num_bytes=1e9 * b, num_operations=9, dtype="float32"
    )
    for b in (4, 8)
}


def timed(device: str | None) -> dict[int, StepTime]:
    return {
        b: StepTime(batch_size=b, seconds=0.1 * b, low=0.09 * b, high=0.12 * b, source="timed", device=device)
        for b in (4, 8)
    }


def test_without_offers_the_machine_that_was_timed() -> None:
    (machine,), notes = machines(Terms(), Timing(timed=timed(None)), [4, 8], usd_per_hour=2.0)
    assert (machine.name, machine.usd_per_hour, machine.gpus, machine.instances, machine.as_of) == (
        THIS_MACHINE,
        2.0,
        1,
        1,
        None,
    )
    assert machine.step_times == timed(None)
    assert notes == ()


def test_timed_on_the_same_card() -> None:
    (machine,), _ = machines(Terms(offers=(L4,)), Timing(timed=timed("NVIDIA L4"), work=WORK), [4])
    assert machine.step_times == {4: timed("NVIDIA L4")[4]}
    assert (machine.usd_per_hour, machine.as_of) == (1.0, "2026-09-06")


def test_timed_on_another_card_and_moved() -> None:
    (machine,), _ = machines(Terms(offers=(H100,)), Timing(timed=timed("NVIDIA L4"), work=WORK), [4])
    table = accelerators()
    assert machine.step_times[4] == transfer(timed("NVIDIA L4")[4], WORK[4], table["L4"], table["H100"])


@pytest.mark.parametrize("device", [None, "NVIDIA GeForce RTX 3090"])
def test_timed_on_something_unknown_and_counted(device: str | None) -> None:
    (machine,), _ = machines(Terms(offers=(H100,)), Timing(timed=timed(device), work=WORK), [8])
    assert machine.step_times[8] == from_work(WORK[8], accelerators()["H100"])


def test_a_card_without_known_limits_needs_a_figure() -> None:
    found, notes = machines(Terms(offers=(ODD, L4)), Timing(timed=timed(None), work=WORK), [4])
    assert [machine.name for machine in found] == ["c:l4"]
    assert "How long a step takes on c:odd is not known" in notes[0]
    own = Terms(offers=(ODD,), own_times=(OwnTime(machine=None, batch_size=None, low=0.1, high=0.4),))
    (machine,), notes = machines(own, Timing(timed=timed(None)), [4])
    time = machine.step_times[4]
    assert (time.low, time.high, time.origin) == (0.1, 0.4, Origin.GIVEN)
    assert time.seconds == pytest.approx(0.2)
    assert notes == ()


def test_the_most_specific_own_figure_counts() -> None:
    own = tuple(
        OwnTime(machine=machine, batch_size=batch, low=seconds, high=seconds)
        for machine, batch, seconds in ((None, None, 1.0), (None, 4, 2.0), ("c:l4", None, 3.0), ("c:l4", 8, 4.0))
    )
    (l4, odd), _ = machines(Terms(offers=(L4, ODD), own_times=own), Timing(timed=timed("NVIDIA L4")), [4, 8])
    assert [l4.step_times[b].seconds for b in (4, 8)] == [3.0, 4.0]
    assert [odd.step_times[b].seconds for b in (4, 8)] == [2.0, 1.0]


def test_nothing_known_at_all() -> None:
    found, notes = machines(Terms(offers=(L4,)), Timing(timed=timed(None)), [4])
    assert found == ()
    assert len(notes) == 1


def test_several_gpus_with_their_efficiency() -> None:
    terms = Terms(offers=(L4,), gpus=(1, 2, 8), efficiency=(0.64, 1.0))
    (one, two, eight), _ = machines(terms, Timing(timed=timed("NVIDIA L4")), [4, 8])
    assert (one.instances, two.instances, eight.instances) == (1, 2, 8)
    assert (one.usd_per_hour, two.usd_per_hour, eight.usd_per_hour) == (1.0, 2.0, 8.0)
    assert one.step_times[8].seconds == pytest.approx(0.8)
    # Twice as fast times √(0.64 · 1), the ends with one efficiency each.
    assert two.step_times[8].seconds == pytest.approx(0.8 / (2 * 0.8))
    assert (two.step_times[8].low, two.step_times[8].high) == (
        pytest.approx(0.72 / 2),
        pytest.approx(0.96 / (2 * 0.64)),
    )
    assert "on 2 GPUs with an efficiency of 64%–100%" in two.step_times[8].source
    assert (one.label, eight.label) == ("c:l4", "c:l4 × 8 GPUs")
    # A batch of 4 cannot be shared by 8.
    assert list(eight.step_times) == [8]


def test_whole_machines_are_paid_for() -> None:
    terms = Terms(offers=(H100,), gpus=(1, 8, 12), efficiency=(1.0, 1.0))
    found, notes = machines(terms, Timing(timed=timed("NVIDIA H100 80GB HBM3")), [4, 8])
    assert [(m.gpus, m.instances, m.usd_per_hour) for m in found] == [(1, 1, 50.0), (8, 1, 50.0), (12, 2, 100.0)]
    assert notes == ()
    _, notes = machines(replace(terms, gpus=(1,)), Timing(timed=timed("NVIDIA H100 80GB HBM3")), [4])
    assert "has 8 H100 accelerators and is paid for as a whole, but training uses 1" in notes[0]
