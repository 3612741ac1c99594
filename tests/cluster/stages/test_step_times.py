from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import ray
import torch
from torch import nn

from raytt.cluster.plumbing import shipping
from raytt.cluster.plumbing.progress import Phase
from raytt.cluster.plumbing.session import WorkerResources
from raytt.cluster.stages import step_times as timing
from raytt.cluster.stages.step_times import measure_step_times
from raytt.pricing.step_key import StepKey, arguments_of, size_of
from raytt.pricing.step_time import StepTime
from raytt.store.run import Run
from raytt.task.task import Task


def _step_time(size: int, seconds: float, spread: float = 2.0) -> StepTime:
    return StepTime(batch_size=size, seconds=seconds, low=seconds / spread, high=seconds * spread, source="timed")


def test_a_straight_line_between_what_was_measured() -> None:
    measured = {size: _step_time(size, 0.01 + 0.002 * size) for size in (8, 16, 32, 64)}
    between = timing._between(24, measured)
    assert between.seconds == pytest.approx(0.01 + 0.002 * 24, rel=1e-12)
    assert (between.low, between.high) == pytest.approx((between.seconds / 2, between.seconds * 2))
    assert between.source == "straight line through the times at batch sizes 8, 16, 32, 64 (timed)"


def test_between_few_timed_steps_there_are_few() -> None:
    counts = {8: 10, 16: 1, 64: 10}
    measured = {size: replace(_step_time(size, 0.01 * size), count=count) for size, count in counts.items()}
    assert timing._between(24, measured).count == 1
    assert timing._between(24, {size: _step_time(size, 0.01) for size in counts}).count is None


def test_noise_never_makes_a_step_free() -> None:
    measured = {8: _step_time(8, 0.01), 16: _step_time(16, 0.01), 32: _step_time(32, 0.5), 64: _step_time(64, 2.0)}
    assert np.polyval(np.polyfit([8, 16, 32, 64], [0.01, 0.01, 0.5, 2.0], 1), 9) < 0
    assert timing._between(9, measured).seconds == 0.01


def _run(folder: Path) -> Run:
    run = Run.open(folder, "r", task_name="t")
    run.check_inputs("probe", {"weights": "w"})
    return run


class _FakeTimer:
    """Stands in for the Ray task: notes what is timed."""

    def __init__(self) -> None:
        self.sizes: list[StepKey] = []

    def options(self, **_: object) -> _FakeTimer:
        return self

    def remote(self, task: object, key: StepKey, resources: WorkerResources) -> object:
        self.sizes.append(key)
        slower = sum(value for _, value in arguments_of(key))
        return ray.put(_step_time(size_of(key), 0.001 * size_of(key) * (1 + slower)))


def test_few_sizes_are_measured_and_none_twice(
    ray_session: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timer = _FakeTimer()
    monkeypatch.setattr(timing, "_TIME", timer)

    def measure(sizes: list[StepKey], resources: WorkerResources | None = None) -> dict[StepKey, StepTime]:
        return measure_step_times(
            None, sizes, resources=resources or WorkerResources(), run=_run(tmp_path), phase=Phase("time", "", None)
        )

    times = measure([64, 8, 8, 16])
    assert timer.sizes == [8, 16, 64]
    assert times == {size: _step_time(size, 0.001 * size) for size in (8, 16, 64)}
    assert measure([8, 64]) == {size: times[size] for size in (8, 64)}
    assert timer.sizes == [8, 16, 64]
    many = measure([8, 12, 16, 24, 32, 48, 64])
    assert timer.sizes == [8, 16, 64, 32]
    assert sorted(many) == [8, 12, 16, 24, 32, 48, 64]
    assert many[12].seconds == pytest.approx(0.012, rel=1e-9)
    assert "straight line" in many[12].source
    measure([8], WorkerResources(cpus=2))
    assert timer.sizes[-1] == 8


def test_networks_that_differ_have_times_of_their_own(
    ray_session: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two sizes of each are timed, the others lie on the line of the same network."""
    timer = _FakeTimer()
    monkeypatch.setattr(timing, "_TIME", timer)
    small, large = (("rank", 1),), (("rank", 9),)
    keys: list[StepKey] = [(size, network) for network in (large, small) for size in (8, 16, 32, 64)] + [16]

    def measure() -> dict[StepKey, StepTime]:
        return measure_step_times(
            None, keys, resources=WorkerResources(), run=_run(tmp_path), phase=Phase("time", "", None)
        )

    times = measure()
    assert set(timer.sizes) == {(8, small), (64, small), (8, large), (64, large), 16}
    assert len(timer.sizes) == 5
    assert set(times) == set(keys)
    for size in (8, 16, 32, 64):
        assert times[size, small].seconds == pytest.approx(0.002 * size, rel=1e-9)
        assert times[size, large].seconds == pytest.approx(0.010 * size, rel=1e-9)
    assert times[16].seconds == pytest.approx(0.016, rel=1e-9)
    assert measure() == times
    assert len(timer.sizes) == 5


def test_real_steps_are_timed_on_a_worker(ray_session: None, tmp_path: Path) -> None:
    task = Task(
        mode="eval", name="t", model=lambda: nn.Linear(2, 2), data=lambda: (torch.zeros(8, 2), torch.zeros(8).long())
    )
    with shipping.by_value(task):
        times = measure_step_times(
            shipping.put(task), [4], resources=WorkerResources(), run=_run(tmp_path), phase=Phase("time", "", None)
        )
    assert 0 < times[4].low <= times[4].seconds <= times[4].high
    assert "1 thread" in times[4].source
