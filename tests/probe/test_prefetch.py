"""Reading ahead, on CUDA devices only: faked here by a device whose copies and pinned memory are noted."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import raytt.probe.prefetch
import raytt.probe.worker
from raytt.errors import InputError
from raytt.probe.prefetch import Feed
from raytt.probe.reading import Batch, Cut
from tests.support.probe_devices import INDEX, SmallDevice, a_worker

FIRST, SECOND, THIRD = Cut(0, 2, 2), Cut(2, 4, 2), Cut(4, 5, 2)


class Source:
    """Notes what is read and by which thread."""

    def __init__(self) -> None:
        self.read: list[Cut] = []
        self.threads: set[str] = set()
        self.done = {cut: threading.Event() for cut in (FIRST, SECOND, THIRD)}

    def __call__(self, cut: Cut) -> Batch:
        self.read.append(cut)
        self.threads.add(threading.current_thread().name)
        self.done[cut].set()
        return torch.full((cut.size, 1), float(cut.start)), torch.arange(cut.start, cut.stop)


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Pinned tensors and copies of a device that is none."""
    seen: list[Any] = []

    def pin(tensor: Tensor) -> Tensor:
        seen.append("pinned")
        return tensor

    def copy(inputs: Any, device: Any, *, non_blocking: bool = False) -> Any:
        seen.append((torch.device(device).type, non_blocking))
        return inputs

    monkeypatch.setattr(Tensor, "pin_memory", pin)
    monkeypatch.setattr(raytt.probe.prefetch, "to_device", copy)
    return seen


def test_the_next_micro_batch_is_read_meanwhile(copies: list[Any]) -> None:
    source = Source()
    with Feed(source, "cuda") as feed:
        inputs, targets = feed.get(FIRST, SECOND)
        # Not asked for yet, while the caller would compute.
        assert source.done[SECOND].wait(30)
        assert inputs.tolist() == [[0.0], [0.0]]
        assert targets.tolist() == [0, 1]
        inputs, targets = feed.get(SECOND, THIRD)
        assert (inputs.tolist(), targets.tolist()) == ([[2.0], [2.0]], [2, 3])
        inputs, targets = feed.get(THIRD, None)
        assert (inputs.tolist(), targets.tolist()) == ([[4.0], [4.0]], [4])
    assert source.read == [FIRST, SECOND, THIRD]
    assert len(source.threads) == 1
    assert source.threads != {threading.current_thread().name}
    assert copies.count("pinned") == 3
    assert copies.count(("cuda", True)) == 3


def test_one_that_was_not_the_next_is_dropped(copies: list[Any]) -> None:
    source = Source()
    with Feed(source, "cuda") as feed:
        feed.get(FIRST, SECOND)
        assert feed.get(THIRD, None)[1].tolist() == [4]
    assert source.read == [FIRST, SECOND, THIRD]


def test_mappings_are_pinned_tensor_by_tensor(copies: list[Any]) -> None:
    data = {"a": torch.ones(1), "b": torch.ones(1), "already there": torch.ones(1, device="meta")}
    with Feed(lambda _: (data, torch.ones(1)), "cuda") as feed:
        inputs, _ = feed.get(FIRST, None)
    assert set(inputs) == set(data)
    assert copies.count("pinned") == 2


def test_errors_come_with_the_micro_batch_they_belong_to(copies: list[Any]) -> None:
    def read(cut: Cut) -> Batch:
        if cut == SECOND:
            raise InputError("bad sample.", "Drop it.")
        return torch.ones(1), torch.ones(1)

    with Feed(read, "cuda") as feed:
        feed.get(FIRST, SECOND)
        with pytest.raises(InputError, match="bad sample"):
            feed.get(SECOND, None)
    with Feed(read, "cuda") as feed:
        feed.get(FIRST, SECOND)  # never asked for: nobody's error


def test_on_a_cpu_nothing_is_read_ahead_or_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(raytt.probe.prefetch.Feed, "_read_pinned")
    source = Source()
    with Feed(source, "cpu") as feed:
        feed.get(FIRST, SECOND)
        assert source.read == [FIRST]
        feed.get(SECOND, None)
    assert source.read == [FIRST, SECOND]
    assert source.threads == {threading.current_thread().name}


def test_cuts_never_reach_across_a_block() -> None:
    cuts, start = [], 0
    while start < 19:
        cuts.append(Cut.at(start, 19, 3, 8))
        start = cuts[-1].stop
    assert [(c.start, c.stop) for c in cuts] == [(0, 3), (3, 6), (6, 8), (8, 11), (11, 14), (14, 16), (16, 19)]
    assert {c.size for c in cuts} == {3}


@pytest.mark.parametrize("most", [float("inf"), 3])
def test_rows_are_the_same_with_reading_ahead(most: float, copies: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    device = SmallDevice()
    worker, plain_device = a_worker(device), SmallDevice()
    plain = a_worker(plain_device)
    device.most = plain_device.most = most
    expected = plain.probe(INDEX)
    monkeypatch.setattr(raytt.probe.worker, "Feed", lambda read, _: Feed(read, "cuda"))
    shard = worker.probe(INDEX)
    np.testing.assert_array_equal(shard.rows, expected.rows)
    np.testing.assert_array_equal(shard.targets, expected.targets)
    assert "pinned" in copies
