"""Timing takes real steps, all parts of them, and leaves the weights alone. Times are those of a clock that is told."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from raytt.errors import InputError
from raytt.pricing.step_time import StepTime
from raytt.task.candidate import Candidate
from raytt.task.task import Task
from raytt.training import step_timer
from raytt.training.step_timer import time_steps
from tests.support.clock import StoppedClock

X = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))
Y = torch.zeros(10, dtype=torch.int64)
DELAY = 0.01


CLOCK = StoppedClock()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> StoppedClock:
    """What steps are timed with."""
    monkeypatch.setattr(step_timer, "time", CLOCK)
    return CLOCK


class Items:
    """A map-style data set that counts accesses, each of which may take a while."""

    def __init__(self, delay: float = 0.0) -> None:
        self.delay = delay
        self.fetched = 0

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, position: int) -> tuple[Tensor, Tensor]:
        self.fetched += 1
        CLOCK.sleep(self.delay)
        return X[position], Y[position]


def slow_forward(model: nn.Module, inputs: Tensor) -> Tensor:
    CLOCK.sleep(DELAY)
    return model(inputs)


def slow_collate(items: list[Any]) -> tuple[Tensor, Tensor]:
    CLOCK.sleep(DELAY)
    return torch.stack([x for x, _ in items]), torch.stack([y for _, y in items])


def make_task(data: Any = (X, Y), **options: Any) -> Task:
    return Task(mode="eval", name="t", model=lambda: nn.Linear(3, 2), data=data, **options)


def test_takes_the_steps_asked_for() -> None:
    items = Items()
    found = time_steps(make_task(items), 4, warmup=3, repeats=5)
    assert items.fetched == (3 + 5) * 4
    assert found.batch_size == 4
    assert 0 < found.low <= found.seconds <= found.high
    assert found.source.startswith("median of 5 timed steps on cpu with ")


@pytest.mark.parametrize(
    ("task", "seconds"),
    [
        (make_task(forward=slow_forward), DELAY),
        (make_task(Items(), collate=slow_collate), DELAY),
        (make_task(Items(DELAY)), 4 * DELAY),
    ],
    ids=["forward", "collation", "loading"],
)
def test_every_part_of_a_step_counts(task: Task, seconds: float, clock: StoppedClock) -> None:
    found = time_steps(task, 4, warmup=0, repeats=2)
    assert (found.low, found.seconds, found.high) == pytest.approx((seconds, seconds, seconds), rel=1e-9)


def test_stops_when_its_time_is_up(clock: StoppedClock) -> None:
    items = Items(DELAY)
    # Of steps of 0.04 s, the second that counts is the third of all and ends after 0.12 s.
    found = time_steps(make_task(items), 4, warmup=1, repeats=50, max_seconds=0.1)
    assert items.fetched == (1 + 2) * 4
    assert "median of 2 " in found.source
    assert found.count == 2


def test_a_machine_so_busy_that_one_step_takes_all_the_time(clock: StoppedClock) -> None:
    found = time_steps(make_task(Items(10.0)), 4, max_seconds=5.0)
    assert (found.count, found.seconds) == (1, pytest.approx(40.0))
    assert found.source.startswith("median of 1 timed step on")


def test_the_network_is_the_candidate_s(clock: StoppedClock) -> None:
    class Slow(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            CLOCK.sleep(DELAY * self.out_features)
            return super().forward(x)

    task = Task(name="t", model=lambda classes=2: Slow(3, classes), data=(X, Y))
    plain, wide = (Candidate(lr=0.1, batch_size=4, model_arguments=given) for given in ({}, {"classes": 5}))
    assert time_steps(task, plain).seconds == time_steps(task, 4).seconds == pytest.approx(2 * DELAY)
    assert time_steps(task, wide).seconds == pytest.approx(5 * DELAY)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_weights_do_not_move(momentum: float) -> None:
    net = nn.Linear(3, 2)
    before = net.weight.detach().clone()
    task = Task(mode="eval", name="t", model=lambda: net, data=(X, Y))
    time_steps(task, Candidate(lr=1e9, momentum=momentum, weight_decay=1.0, batch_size=4), repeats=3)
    assert torch.equal(net.weight, before)


@pytest.mark.parametrize(
    ("batch_size", "options", "message"),
    [
        (11, {}, "batch_size is 11, but there are only 10"),
        (4, {"repeats": 0}, "repeats=0 and warmup=2.*at least one step"),
        (4, {"warmup": -1}, "warmup=-1"),
    ],
)
def test_unusable_arguments(batch_size: int, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        time_steps(make_task(), batch_size, **options)


@pytest.mark.parametrize("values", [(0.0, 0.0, 0.0), (2.0, 1.0, 3.0), (1.0, 2.0, float("inf"))])
def test_step_times_are_positive_and_ordered(values: tuple[float, float, float]) -> None:
    low, median, high = values
    with pytest.raises(ValueError, match="step time"):
        StepTime(batch_size=1, seconds=median, low=low, high=high, source="")
