"""The probe worker: bits do not depend on how work is cut, and bad input is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from raytt.errors import InputError
from raytt.probe.settings import ProbeSettings
from raytt.probe.shard import Shard
from raytt.probe.sketch import CountSketch, project
from raytt.probe.worker import ProbeWorker
from raytt.task.task import Task
from raytt.training.model import prepare_model
from tests.support.probe_networks import CASES
from tests.support.probe_reference import naive_jacobian, network, randomized

NUM = 23
SETTINGS = ProbeSettings(proj_dim=32, proj_seed=4, block_size=5)


def convnet() -> nn.Module:
    body = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Conv2d(8, 8, 3, groups=8)
    )
    return randomized(nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))).float()


def recurrent() -> nn.Module:
    return randomized(CASES["recurrent"].build()).float()


def data(*shape: int, classes: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(NUM, *shape, generator=generator), torch.randint(0, classes, (NUM,), generator=generator)


def task(**changes: Any) -> Task:
    return replace(Task(mode="eval", name="t", model=convnet, data=data(3, 6, 6), validation=data(3, 6, 6)), **changes)


def assert_equal(a: Shard, b: Shard) -> None:
    for field in ("index", "outputs", "rows", "radial", "targets"):
        np.testing.assert_array_equal(getattr(a, field), getattr(b, field), err_msg=field, strict=True)


def joined(shards: list[Shard]) -> Shard:
    fields = ("index", "outputs", "rows", "radial", "targets")
    return Shard(**{f: np.concatenate([getattr(s, f) for s in shards]) for f in fields})


@pytest.mark.parametrize("model", [convnet, recurrent], ids=["fast route", "generic route"])
def test_neither_grouping_of_blocks_nor_worker_changes_a_bit(model: Callable[[], nn.Module]) -> None:
    one = task(model=model, data=data(*((3, 6, 6) if model is convnet else (6, 4)), classes=3))
    everything = np.arange(NUM)
    whole = ProbeWorker(one, SETTINGS, everything).probe(everything)
    blocks = [everything[i : i + 5] for i in range(0, NUM, 5)]

    first, second = ProbeWorker(one, SETTINGS, everything), ProbeWorker(one, SETTINGS, everything)
    backwards = [(first if i % 2 else second).probe(block) for i, block in reversed(list(enumerate(blocks)))]
    assert_equal(joined(backwards[::-1]), whole)

    pairs = [np.concatenate(blocks[i : i + 2]) for i in range(0, len(blocks), 2)]
    assert_equal(joined([first.probe(pair) for pair in pairs]), whole)


def test_small_budget_splits_blocks_and_keeps_their_bits() -> None:
    settings = replace(SETTINGS, max_chunk_bytes=20_000)
    everything = np.arange(NUM)
    worker = ProbeWorker(task(), settings, everything)
    assert worker._plan.num_samples < SETTINGS.block_size
    whole = worker.probe(everything)
    assert_equal(joined([worker.probe(everything[i : i + 5]) for i in range(0, NUM, 5)]), whole)
    # Other tiles round differently, no more.
    roomy = ProbeWorker(task(), SETTINGS, everything).probe(everything)
    np.testing.assert_allclose(whole.rows, roomy.rows, rtol=1e-4, atol=1e-5 * np.abs(roomy.rows).max())


def test_shard_holds_what_it_says() -> None:
    index = np.array([3, 0, 17, 9, 21, 8])
    shard = ProbeWorker(task(), SETTINGS, np.arange(NUM)).probe(index)
    inputs, labels = data(3, 6, 6)
    net = network(convnet())
    jacobian = naive_jacobian(net, inputs[index]).double()
    sketch = CountSketch(SETTINGS.proj_dim, SETTINGS.proj_seed)
    sizes = [p.numel() for p in net.trainable.values()]
    rows = np.stack(
        [
            [project(sketch, dict(zip(net.trainable, row.split(sizes), strict=True))).numpy() for row in sample]
            for sample in jacobian
        ]
    )
    flat = torch.cat([p.detach().reshape(-1) for p in net.trainable.values()]).double()
    # Single precision on both sides.
    tolerance = {"rtol": 1e-4, "atol": 1e-5 * float(jacobian.norm(dim=-1).max())}
    np.testing.assert_array_equal(shard.index, index)
    np.testing.assert_array_equal(shard.targets, labels[index].numpy())
    outputs = net.forward(net.module, inputs[index]).detach().numpy()
    np.testing.assert_allclose(shard.outputs, outputs, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(shard.rows, rows, **tolerance)
    np.testing.assert_allclose(shard.radial, (jacobian @ flat).numpy(), rtol=1e-4, atol=1e-4)


def test_validation_has_its_own_data() -> None:
    inputs, labels = data(3, 6, 6)
    worker = ProbeWorker(task(validation=(inputs.flip(0), labels.flip(0))), SETTINGS, np.arange(NUM))
    train, validation = worker.probe(np.arange(20, 23)), worker.probe(np.arange(3), "validation")
    np.testing.assert_array_equal(train.targets, validation.targets[::-1])
    np.testing.assert_allclose(train.rows, validation.rows[::-1], rtol=1e-4, atol=1e-5 * np.abs(train.rows).max())


def test_real_valued_targets() -> None:
    targets = torch.randn(NUM, 4, dtype=torch.float64)
    worker = ProbeWorker(task(data=(data(3, 6, 6)[0], targets), loss="squared_error"), SETTINGS, np.arange(NUM))
    shard = worker.probe(np.arange(7))
    assert shard.targets.dtype == np.float32
    np.testing.assert_array_equal(shard.targets, targets[:7].float().numpy())


def test_facts_tell_sizes_and_slow_parameters() -> None:
    fast = task(trainable=("!0.0.*",))
    facts = ProbeWorker(fast, SETTINGS, np.arange(NUM)).facts()
    assert (facts.num_outputs, facts.num_params, facts.num_trainable) == (4, 356, 132)
    assert facts.notes == prepare_model(fast).notes != ()

    slow = ProbeWorker(task(model=recurrent, data=data(6, 4, classes=3)), SETTINGS, np.arange(NUM)).facts()
    assert slow.notes == (
        "4 of 6 parameters take the slower sample-by-sample route (rnn.weight_ih_l0: used by lstm; rnn.weight_hh_l0: "
        "used by lstm; rnn.bias_ih_l0: used by lstm; and 1 more).",
    )


def test_later_tangent_point() -> None:
    index = np.arange(5)
    base = ProbeWorker(task(), SETTINGS, np.arange(NUM))
    start = {name: p.detach().clone() for name, p in network(convnet()).trainable.items()}
    generator = torch.Generator().manual_seed(0)
    moved = {name: w + 0.1 * torch.randn(w.shape, generator=generator) for name, w in start.items()}
    later = ProbeWorker(task(), SETTINGS, np.arange(NUM), weights=moved)

    assert float(np.abs(base.position()).max()) == 0.0
    shift = {name: moved[name].double() - start[name].double() for name in start}
    expected = project(CountSketch(SETTINGS.proj_dim, SETTINGS.proj_seed), shift).numpy()
    np.testing.assert_allclose(later.position(), expected, rtol=1e-12, atol=1e-12)

    # The radial derivative at the new point is that of the new Jacobian along the old weights.
    net = network(convnet())
    with torch.no_grad():
        for name, p in net.trainable.items():
            p.copy_(moved[name])
    jacobian = naive_jacobian(net, data(3, 6, 6)[0][index])
    flat = torch.cat([w.reshape(-1) for w in start.values()])
    np.testing.assert_allclose(later.probe(index).radial, (jacobian @ flat).numpy(), rtol=1e-4, atol=1e-4)


def test_thread_count_is_restored() -> None:
    before = torch.get_num_threads()
    worker = ProbeWorker(task(), replace(SETTINGS, num_threads=before + 1), np.arange(NUM))
    worker.probe([0])
    assert torch.get_num_threads() == before


class _Root(nn.Module):
    """f = √(w·x) has no finite gradient where x = 0."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[1.0], [2.0]]))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight).sqrt()


def test_infinite_gradients_name_the_samples() -> None:
    inputs = torch.ones(NUM, 1)
    inputs[[7, 12]] = 0.0
    worker = ProbeWorker(task(model=_Root, data=(inputs, torch.zeros(NUM).long())), SETTINGS, np.arange(NUM))
    with pytest.raises(InputError, match=r"gradients hold NaN or infinite values for samples 12, 7\."):
        worker.probe([12, 3, 7])


def test_infinite_outputs_name_the_samples() -> None:
    inputs = torch.ones(NUM, 1)
    inputs[20] = -1.0
    worker = ProbeWorker(task(model=_Root, data=(inputs, torch.zeros(NUM).long())), SETTINGS, np.arange(NUM))
    with pytest.raises(InputError, match=r"outputs hold NaN or infinite values for samples 20\."):
        worker.probe(np.arange(NUM))
    with pytest.raises(InputError, match=r"for samples 20\."):
        ProbeWorker(task(model=_Root, data=(inputs, torch.zeros(NUM).long())), SETTINGS, [20, 21])


def test_labels_outside_the_outputs_are_refused() -> None:
    inputs, labels = data(3, 6, 6)
    labels[11] = 4
    worker = ProbeWorker(task(data=(inputs, labels)), SETTINGS, np.arange(NUM))
    with pytest.raises(InputError, match="labels must lie in 0…3"):
        worker.probe(np.arange(NUM))


def test_loss_of_wrong_shape_is_refused_before_any_gradient() -> None:
    with pytest.raises(InputError, match="must give one value per sample"):
        ProbeWorker(task(loss=lambda f, y: f.sum()), SETTINGS, np.arange(NUM))


def test_missing_validation_and_empty_index_are_refused() -> None:
    worker = ProbeWorker(task(validation=None), SETTINGS, np.arange(NUM))
    with pytest.raises(InputError, match="has no validation data"):
        worker.probe([0], "validation")
    with pytest.raises(InputError, match="at least one sample"):
        worker.probe([])
    with pytest.raises(InputError, match="at least one sample"):
        ProbeWorker(task(), SETTINGS, [])


@pytest.mark.parametrize("field", ["proj_dim", "block_size", "num_threads", "max_chunk_bytes"])
def test_settings_must_be_positive(field: str) -> None:
    with pytest.raises(InputError, match=rf"{field} is 0.*( at least 1|Give a positive)"):
        ProbeSettings(**{field: 0})


def test_weights_that_do_not_train_are_refused() -> None:
    with pytest.raises(InputError, match="'nothing'"):
        ProbeWorker(task(), SETTINGS, np.arange(NUM), weights={"nothing": torch.zeros(1)})
