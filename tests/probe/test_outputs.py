"""Few of many outputs: what is chosen, that rows are those of the whole Jacobian, and that simulations stay right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from raytt.errors import InputError
from raytt.probe.outputs import FewOutputs, few_outputs
from raytt.probe.settings import ProbeSettings
from raytt.probe.shard import Shard
from raytt.probe.worker import Point, ProbeWorker
from raytt.task.losses import CrossEntropy, SquaredError
from raytt.task.task import Task
from tests.support.probe_reference import randomized

C, K, NUM = 40, 16, 20
SETTINGS = ProbeSettings(proj_dim=64, proj_seed=4, block_size=6, max_outputs=K)
EVERYTHING = np.arange(NUM)
FEW = FewOutputs(num_classes=C, count=K, seed=4)


def model() -> nn.Module:
    return randomized(nn.Sequential(nn.Linear(9, 12), nn.Tanh(), nn.Linear(12, C))).float()


def data(classes: int = C) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(NUM, 9, generator=generator), torch.randint(0, classes, (NUM,), generator=generator)


def task(**changes: Any) -> Task:
    return replace(Task(mode="eval", name="t", model=model, data=data(), validation=data()), **changes)


def whole() -> Shard:
    return ProbeWorker(task(), replace(SETTINGS, max_outputs=C), EVERYTHING).probe(EVERYTHING)


def test_few_are_probed_only_of_many_classes() -> None:
    assert few_outputs(CrossEntropy(), 24, 24, 0) is None
    assert few_outputs(CrossEntropy(), 25, 24, 0) is not None
    assert few_outputs(SquaredError(), 1000, 32, 0) is None
    assert SquaredError().sampled() is None


@pytest.mark.parametrize("count", [8, 15, 16, 32, 33])
def test_kinds_fill_the_count(count: int) -> None:
    few = FewOutputs(num_classes=100, count=count, seed=0)
    assert few.drawn >= 2
    assert few.chosen >= 2
    known = 1 + few.chosen
    assert few.measured(on_path=False).tolist() == list(range(count))
    assert few.measured(on_path=True).tolist() == list(range(known + few.drawn))
    # Which classes each residual is pulled along, from rows that name them.
    pulled = few.pulled(np.eye(count, dtype=np.float32)[None])[0]
    np.testing.assert_array_equal(pulled[:known], np.eye(count)[:known])
    for i, row in enumerate(pulled[known:]):
        m = (100 - known) / few.drawn
        expected = np.zeros(count)
        expected[known + i], expected[known + few.drawn + i] = 1 / m, 1 - 1 / m
        np.testing.assert_allclose(row, expected, rtol=1e-6)


@pytest.mark.parametrize("on_path", [False, True])
def test_the_own_class_comes_first_none_twice_and_weights_count_all(on_path: bool) -> None:
    labels = data()[1]
    likely = None
    if on_path:
        likely = FEW.likely(torch.randn(NUM, C, generator=torch.Generator().manual_seed(0)), labels)
    classes, weights = FEW.choose(labels, EVERYTHING, "train", likely)
    assert classes.shape == (NUM, K)
    assert classes[:, 0].tolist() == labels.tolist()
    assert all(len(set(row)) == K for row in classes.tolist())
    if likely is not None:
        assert classes[:, 1 : 1 + FEW.chosen].tolist() == likely.tolist()
    np.testing.assert_allclose(weights.sum(axis=1), C, rtol=1e-6)


def test_draws_depend_on_seed_split_and_position_alone() -> None:
    labels = data()[1]
    classes, _ = FEW.choose(labels, EVERYTHING, "train", None)
    alone, _ = FEW.choose(labels[7:8], EVERYTHING[7:8], "train", None)
    assert alone[0].tolist() == classes[7].tolist()
    assert FEW.choose(labels, EVERYTHING, "validation", None)[0].tolist() != classes.tolist()
    assert replace(FEW, seed=5).choose(labels, EVERYTHING, "train", None)[0].tolist() != classes.tolist()


def test_the_likeliest_wrong_classes_leave_out_the_own_one() -> None:
    outputs = torch.arange(C).float().repeat(2, 1)
    found = FEW.likely(outputs, torch.tensor([C - 1, 0]))
    assert found[0].tolist() == [C - 2 - i for i in range(FEW.chosen)]
    assert found[1].tolist() == [C - 1 - i for i in range(FEW.chosen)]


def test_rows_at_the_start_are_those_of_the_chosen_outputs() -> None:
    worker, everything = ProbeWorker(task(), SETTINGS, EVERYTHING), whole()
    found = worker.probe(EVERYTHING)
    classes, weights = FEW.choose(data()[1], EVERYTHING, "train", None)
    np.testing.assert_allclose(found.outputs, np.take_along_axis(everything.outputs, classes, 1), rtol=1e-5)
    np.testing.assert_allclose(found.rows, np.take_along_axis(everything.rows, classes[..., None], 1), atol=1e-4)
    np.testing.assert_allclose(found.radial, np.take_along_axis(everything.radial, classes, 1), rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(found.targets, weights)
    assert found.updates is None
    facts = worker.facts()
    assert (facts.num_outputs, facts.outputs_per_sample) == (C, K)
    assert any("16 were probed per sample" in note for note in facts.notes)


@pytest.mark.parametrize("scaled", [False, True], ids=["sgd", "adamw"])
def test_rows_on_a_path_are_measured_and_pulled_apart(scaled: bool) -> None:
    size = sum(p.numel() for p in model().parameters())
    scale = None
    if scaled:
        scale = np.exp(np.random.default_rng(0).normal(size=size)).astype(np.float32)
    point = Point(weights=None, scale=scale, common=None if scale is None else np.ones(size, np.float32))
    worker = ProbeWorker(task(), SETTINGS, EVERYTHING)
    all_rows = ProbeWorker(task(), replace(SETTINGS, max_outputs=C), EVERYTHING)
    worker.move(point)
    all_rows.move(point)
    likely = worker.likely(EVERYTHING)
    found, everything = worker.probe(EVERYTHING, likely=likely), all_rows.probe(EVERYTHING)
    classes, _ = FEW.choose(data()[1], EVERYTHING, "train", likely)
    measured = classes[:, FEW.measured(on_path=True)]
    source = everything.rows if everything.updates is None else everything.updates
    np.testing.assert_allclose(found.rows, np.take_along_axis(everything.rows, measured[..., None], 1), atol=1e-4)
    np.testing.assert_allclose(found.outputs, np.take_along_axis(everything.outputs, measured, 1), rtol=1e-5)
    assert found.updates is not None
    np.testing.assert_allclose(found.updates, FEW.pulled(np.take_along_axis(source, classes[..., None], 1)), atol=1e-4)


def test_the_worker_finds_the_likeliest_classes_of_the_whole_network() -> None:
    expected = FEW.likely(torch.tensor(whole().outputs), data()[1])
    assert ProbeWorker(task(), SETTINGS, EVERYTHING).likely(EVERYTHING).tolist() == expected.tolist()
    assert ProbeWorker(task(), replace(SETTINGS, max_outputs=C), EVERYTHING).likely(EVERYTHING).shape == (NUM, 0)


def test_blocks_and_mappings_of_inputs_change_no_bit() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = model()

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.body(x)
            return out

    def forward(module: nn.Module, inputs: Mapping[str, Tensor]) -> Tensor:
        out: Tensor = module(**inputs)
        return out

    x, y = data()
    plain = ProbeWorker(task(), SETTINGS, EVERYTHING)
    named = ProbeWorker(task(model=Named, data=({"x": x}, y), forward=forward), SETTINGS, EVERYTHING)
    likely = plain.likely(EVERYTHING)
    expected = plain.probe(EVERYTHING, likely=likely)
    parts = [named.probe(EVERYTHING[i : i + 6], likely=likely[i : i + 6]) for i in range(0, NUM, 6)]
    for field in ("outputs", "targets"):
        joined = np.concatenate([getattr(part, field) for part in parts])
        np.testing.assert_array_equal(joined, getattr(expected, field))


def test_labels_that_are_no_classes_are_named() -> None:
    x, y = data()
    with pytest.raises(InputError, match=r"Labels run from .* to 40, but the network has 40 outputs"):
        ProbeWorker(task(data=(x, torch.where(torch.arange(NUM) == 1, C, y))), SETTINGS, EVERYTHING)


def test_targets_that_are_no_labels_are_named() -> None:
    x, y = data()
    with pytest.raises(InputError, match="Cross-entropy needs integer class labels"):
        ProbeWorker(task(data=(x, torch.stack([y, y], dim=1))), SETTINGS, EVERYTHING)


def test_a_label_out_of_range_is_found_wherever_it_is() -> None:
    x, y = data()
    worker = ProbeWorker(task(data=(x, torch.where(torch.arange(NUM) == NUM - 1, -1, y))), SETTINGS, EVERYTHING)
    with pytest.raises(InputError, match=r"Labels run from -1 to"):
        worker.probe(EVERYTHING)


def test_too_few_are_refused() -> None:
    with pytest.raises(InputError, match=r"max_outputs is 7\. Give a whole number of at least 8\."):
        replace(SETTINGS, max_outputs=7)
