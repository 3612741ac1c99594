"""What the scaling benchmark concludes from: ratios, and the arithmetic that carries figures to a large cluster."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from benchmarks.scaling.paper import Cluster, Rates, Step, Work, largest, needs, steps
from benchmarks.scaling.report import paper_section
from benchmarks.scaling.work import interleaved, ratio

RATES = Rates(**{field.name: 1e9 for field in fields(Rates)})


def _step(name: str, work: Work, cluster: Cluster | None = None, rates: Rates = RATES) -> Step:
    (found,) = [step for step in steps(work, cluster or Cluster(), rates) if name in step.name]
    return found


def test_routes_are_taken_in_turn_and_compared_within_a_repeat() -> None:
    taken: list[str] = []
    seconds = interleaved({name: lambda name=name: taken.append(name) for name in "ab"}, 2)  # type: ignore[misc]
    assert taken == ["a", "b", "a", "b"]
    assert {name: len(times) for name, times in seconds.items()} == {"a": 2, "b": 2}
    assert ratio({"a": [2.0, 30.0, 4.0], "b": [1.0, 10.0, 2.0]}, "a", "b") == 2.0


def test_sizes_by_hand() -> None:
    work = Work()
    assert work.row_bytes == 819_200_000_000
    assert (work.blocks, work.sums) == (3125, 3125)
    # Blocks of 160 rows: 13 of them make 2,048.
    small = replace(work, outputs=10)
    assert (small.blocks_per_sum, small.sums) == (13, 241)


def test_rows_are_bounded_by_what_takes_longest() -> None:
    work = Work(samples=1600, tangents=2)
    written = 2 * 1600 * 1000 * 4096 * 4
    slow_clerk = _step("rows at", work, rates=replace(RATES, save=1e6))
    assert slow_clerk.bound == "clerk's writing"
    assert slow_clerk.longest == pytest.approx(written / 1e6)
    assert slow_clerk.sent == pytest.approx(written * 7 / 8)
    slow_driver = _step("rows at", work, rates=replace(RATES, shards=1e-3))
    assert slow_driver.bound == "driver"
    assert slow_driver.longest == pytest.approx(200 / 1e-3)
    # 67 TFLOP/s at a quarter of a thread's share of its 1 GFLOP/s: as fast as 16,750 threads.
    slow_gpus = _step("rows at", work, rates=replace(RATES, rows=1e-3))
    assert slow_gpus.bound == "GPUs"
    assert slow_gpus.longest == pytest.approx(3_200_000 / (64 * 16.75), rel=1e-6)


def test_products_and_sums_by_hand() -> None:
    work, cluster = Work(samples=16), Cluster(nodes=1, cpus_per_node=4)
    assert _step("R × R", work, cluster).seconds["CPUs"] == pytest.approx(2 * 16_000 * 4096**2 / 4e9)
    assert _step("R × R", work, cluster).sent == 0.0
    assert _step("axes", work, cluster).longest == pytest.approx(64e9)


def test_simulations_of_a_part_are_as_many_with_less_to_evaluate() -> None:
    whole, part = _step("simulations", Work(samples=50_000)), _step("simulations", Work(samples=512))
    assert part.name == whole.name
    assert part.longest < whole.longest


def test_memory_suffices_up_to_the_largest_and_no_further() -> None:
    work, cluster = Work(), Cluster()
    bounded = 0
    for number in range(len(needs(work, cluster))):
        most = largest(work, cluster, number)
        if most is None:
            continue
        bounded += 1
        fits = [needs(replace(work, samples=n), cluster)[number] for n in (most, most + 1)]
        assert fits[0].bytes <= fits[0].have
        assert fits[1].bytes > fits[1].have
    assert bounded == 4


def test_the_section_says_what_breaks_first() -> None:
    text, figures = paper_section(RATES)
    assert 'memory breaks first at "solve: rows of 4 tangents, every node\'s store", beyond N = 5,033.' in text
    assert set(figures) == {"N = 50000", "N = 512", "suffices", "rates"}
