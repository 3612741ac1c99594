"""The number that training lowers, against torch, for batches of any form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from raytt.errors import InputError
from raytt.task.task import Task
from raytt.training.datasets import open_dataset
from raytt.training.model import prepare_for_training
from raytt.training.objective import Objective, batch_to_device

X, Y = torch.randn(10, 3, generator=torch.Generator().manual_seed(1)), torch.arange(10) % 3


def net() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Linear(3, 3)


def objective_of(data: Any, **options: Any) -> tuple[Objective, Any, Any]:
    task = Task(name="t", model=net, data=data, mode="train", **options)
    return Objective(task), open_dataset(data, task), prepare_for_training(task)


def test_items_that_are_mappings_with_labels_inside() -> None:
    items = [{"x": X[i], "labels": Y[i]} for i in range(10)]

    def batch_loss(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        return nn.functional.cross_entropy(model(batch["x"]), batch["labels"])

    objective, dataset, model = objective_of(items, batch_loss=batch_loss)
    batch = objective.read(dataset, [2, 5, 7])
    expected = nn.functional.cross_entropy(net()(X[[2, 5, 7]]), Y[[2, 5, 7]])
    torch.testing.assert_close(objective.value(model, batch), expected)
    measured = objective.measure(model, batch, 3)
    assert measured.loss == pytest.approx(3 * expected.item())
    assert (measured.count, measured.correct) == (3, None)


def test_texts_without_targets_and_a_collate_of_ones_own() -> None:
    def collate(items: Sequence[str]) -> Tensor:
        return torch.tensor([[float(len(item)), 1.0, 0.0] for item in items])

    objective, dataset, model = objective_of(
        ["a", "bb", "ccc"], collate=collate, batch_loss=lambda model, batch: model(batch).square().mean()
    )
    batch = objective.read(dataset, [0, 2])
    assert batch.tolist() == [[1.0, 1.0, 0.0], [3.0, 1.0, 0.0]]
    torch.testing.assert_close(objective.value(model, batch), net()(batch).square().mean())


def test_pairs_of_tensors_stay_pairs() -> None:
    objective, dataset, _ = objective_of((X, Y), batch_loss=lambda model, batch: model(batch[0]).mean())
    inputs, targets = objective.read(dataset, [1, 4])
    assert torch.equal(inputs, X[[1, 4]])
    assert torch.equal(targets, Y[[1, 4]])


def test_items_that_cannot_be_stacked_are_refused() -> None:
    objective, dataset, _ = objective_of([{"x": [1]}, {"x": [1, 2]}], batch_loss=lambda model, batch: model(batch))
    with pytest.raises(InputError, match="cannot be stacked to a batch"):
        objective.read(dataset, [0, 1])


def test_outputs_and_a_loss_count_correct_answers() -> None:
    objective, dataset, model = objective_of((X, Y))
    measured = objective.measure(model, objective.read(dataset, range(10)), 10)
    outputs = net()(X)
    assert measured.loss == pytest.approx(10 * nn.functional.cross_entropy(outputs, Y).item(), rel=1e-6)
    assert measured.correct == pytest.approx(int((outputs.argmax(dim=1) == Y).sum()))


def test_inputs_may_be_any_nest() -> None:
    items = [(({"x": X[i]}, [X[i]]), Y[i]) for i in range(10)]

    def forward(model: nn.Module, inputs: Any) -> Tensor:
        named, listed = inputs
        outputs: Tensor = model(named["x"] + listed[0])
        return outputs

    objective, dataset, model = objective_of(items, forward=forward)
    batch = batch_to_device(objective.read(dataset, [0, 3]), "cpu")
    expected = nn.functional.cross_entropy(net()(2 * X[[0, 3]]), Y[[0, 3]])
    torch.testing.assert_close(objective.value(model, batch), expected)


def test_a_batch_with_a_device_of_its_own_moves_itself() -> None:
    packed = nn.utils.rnn.pack_sequence([X[:3], X[:2]])
    assert torch.equal(batch_to_device(packed, "cpu").data, packed.data)
    assert batch_to_device({"a": X, "n": 3}, "meta")["a"].device.type == "meta"


@dataclass
class Scores:
    scores: Tensor


class Wrapped(nn.Module):
    def __init__(self, wrap: Any) -> None:
        super().__init__()
        self.inner, self.wrap = net(), wrap

    def forward(self, x: Tensor) -> Any:
        return self.wrap(self.inner(x))


@pytest.mark.parametrize(
    ("wrap", "pick", "said"),
    [
        (lambda f: (f, f), lambda found: found[0], "a tuple of length 2"),
        (lambda f: [f], lambda found: found[0], "a list of length 1"),
        (lambda f: {"scores": f}, lambda found: found["scores"], "a dict with keys scores"),
        (Scores, lambda found: found.scores, "a Scores"),
    ],
)
def test_outputs_of_any_form_go_to_functions_and_are_named_elsewhere(wrap: Any, pick: Any, said: str) -> None:
    def cross_entropy(outputs: Any, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(pick(outputs), targets)

    task = Task(name="t", model=lambda: Wrapped(wrap), data=(X, Y), mode="train", loss=cross_entropy)
    found = Objective(task).value(prepare_for_training(task), (X, Y))
    torch.testing.assert_close(found, nn.functional.cross_entropy(net()(X), Y))
    named = Task(name="t", model=lambda: Wrapped(wrap), data=(X, Y), mode="train")
    with pytest.raises(InputError, match=f"The network returned {said}, which is neither .*lambda model, inputs"):
        Objective(named).value(prepare_for_training(named), (X, Y))


def test_texts_as_labels_are_refused() -> None:
    objective, dataset, _ = objective_of([(X[i], "cat") for i in range(4)])
    with pytest.raises(InputError, match=r"targets of a batch are texts such as 'cat'.*Number the classes from 0"):
        objective.read(dataset, [0, 1])


def test_only_training_minibatches_are_mixed() -> None:
    def mix(inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return inputs.flip(0), nn.functional.one_hot(labels, 3).flip(0).float()

    objective, dataset, model = objective_of((X, Y), mix=mix)
    inputs, targets = objective.read(dataset, [1, 2], training=True)
    torch.testing.assert_close(inputs, X[[2, 1]])
    torch.testing.assert_close(targets.argmax(dim=1), Y[[2, 1]])
    expected = nn.functional.cross_entropy(net()(X[[1, 2]]), Y[[1, 2]])
    torch.testing.assert_close(objective.value(model, (inputs, targets)), expected)
    torch.testing.assert_close(objective.read(dataset, [1, 2])[0], X[[1, 2]])


def test_mixing_that_gives_no_pair_or_has_no_place_is_refused() -> None:
    objective, dataset, _ = objective_of((X, Y), mix=lambda inputs, labels: inputs)
    with pytest.raises(InputError, match="gave Tensor, not a pair"):
        objective.read(dataset, [1, 2], training=True)
    with pytest.raises(InputError, match="a batch_loss and mix"):
        objective_of((X, Y), mix=lambda x, y: (x, y), batch_loss=lambda model, batch: model(batch[0]).mean())
