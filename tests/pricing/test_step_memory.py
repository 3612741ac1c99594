from __future__ import annotations

from dataclasses import replace

import pytest

from raytt.pricing.step_memory import Fit, PassMemory, StepMemory, fit
from raytt.task.candidate import Candidate

ADAM = Candidate(lr=0.1, optimizer="adamw", batch_size=16)
# F_1 is 100 up to 4 samples and then 25 B; F_2 is 50 more.
PASSES = tuple(
    PassMemory(batch_size=size, first=max(100, 25 * size), later=max(100, 25 * size) + 50) for size in (2, 4, 8, 16)
)
MEMORY = StepMemory(
    weights=1000,
    gradients=40,
    largest_gradient=10,
    averaged=False,
    passes={"cpu": PASSES, "cuda": PASSES},
    source="computed",
)


def test_a_peak_is_the_sum_of_its_parts() -> None:
    # W + s G + F_1(16)
    assert MEMORY.peak(ADAM) == 1000 + 2 * 40 + 400
    parts = MEMORY.parts(ADAM)
    assert (parts.weights, parts.state, parts.average, parts.passes, parts.buckets) == (1000, 80, 0, 400, 0)


@pytest.mark.parametrize(
    ("changes", "averaged", "gpus", "expected"),
    [
        ({"optimizer": "sgd"}, False, 1, 1000 + 400),
        ({"accumulation_steps": 2}, False, 1, 1000 + 80 + 450),
        ({}, True, 1, 2000 + 80 + 400),
        ({"batch_size": 2}, False, 1, 1000 + 80 + 100),
        # Between known sizes and beyond the last.
        ({"batch_size": 12}, False, 1, 1000 + 80 + 300),
        ({"batch_size": 20}, False, 1, 1000 + 80 + 500),
        # A share of the minibatch each, and the buckets.
        ({}, False, 4, 1000 + 80 + 100 + 40),
    ],
)
def test_what_a_peak_depends_on(changes: dict[str, object], averaged: bool, gpus: int, expected: int) -> None:
    memory = replace(MEMORY, averaged=averaged)
    assert memory.peak(replace(ADAM, **changes), gpus=gpus) == expected  # type: ignore[arg-type]


def test_the_update_may_be_the_peak() -> None:
    """All gradients, and √v of all of them at once on a GPU, of one after the other on a CPU."""
    few = replace(MEMORY, passes={name: (PassMemory(batch_size=4, first=0, later=0),) for name in ("cpu", "cuda")})
    small = replace(ADAM, batch_size=4)
    assert few.peak(small, processor="cuda") == 1000 + 80 + 40 + 40
    assert few.peak(small, processor="cpu") == 1000 + 80 + 40 + 3 * 10


def test_the_largest_batch_is_the_last_that_fits() -> None:
    for usable in (1179, 1180, 1500, 1501, 9999):
        largest = MEMORY.largest_batch(ADAM, usable)
        assert largest == 0 or MEMORY.peak(replace(ADAM, batch_size=largest)) <= usable
        assert MEMORY.peak(replace(ADAM, batch_size=largest + 1)) > usable
    assert MEMORY.largest_batch(ADAM, 1179) == 0


def test_a_remedy_keeps_the_samples_of_a_step() -> None:
    assert fit(MEMORY, ADAM, 1480).fits is True
    # 16 = 8 × 2: 1000 + 80 + 250.
    assert fit(MEMORY, ADAM, 1479) == Fit(peak=1480, usable=1479, batch_size=8, accumulation_steps=2)
    assert fit(MEMORY, ADAM, 1330) == Fit(peak=1480, usable=1330, batch_size=8, accumulation_steps=2)
    # 8 no longer fits, 7, 6 and 5 do not divide 16.
    assert fit(MEMORY, ADAM, 1329) == Fit(peak=1480, usable=1329, batch_size=4, accumulation_steps=4)
    # Accumulated already: 24 samples of a step, 12 of which do not fit.
    accumulated = replace(ADAM, batch_size=12, accumulation_steps=2)
    assert fit(MEMORY, accumulated, 1330) == Fit(peak=1430, usable=1330, batch_size=8, accumulation_steps=3)


def test_where_nothing_fits_or_nothing_is_known() -> None:
    assert fit(MEMORY, ADAM, 1100) == Fit(peak=1480, usable=1100)
    assert fit(MEMORY, ADAM, 1100).fits is False
    assert fit(MEMORY, ADAM, None).fits is None


def test_json_goes_there_and_back() -> None:
    assert StepMemory.from_json(MEMORY.to_json()) == MEMORY


def test_sizes_must_increase() -> None:
    with pytest.raises(ValueError, match="passes of"):
        replace(MEMORY, passes={"cpu": PASSES[::-1]})
