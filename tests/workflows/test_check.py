"""What can be wrong with a task is found without a cluster, one line each, with a remedy."""

from __future__ import annotations

import functools
import re
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset, random_split

import raytt
from raytt.results.task_check import Verdict
from tests.support.language_task import TASK as TOKENS
from tests.support.training_task import TASK

X, Y = torch.randn(40, 4, generator=torch.Generator().manual_seed(1)), torch.arange(40) % 3


def model() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))


PLAIN = raytt.Task(name="plain", model=model, data=(X, Y), mode="train")
SPACE = [{"lr": 0.1, "batch_size": 16}, {"lr": 0.01, "optimizer": "adamw", "batch_size": 32}]


def bad(check: raytt.TaskCheck) -> str:
    return " ".join(f"{f.what}: {f.found} {f.remedy}" for f in check.findings if f.verdict is Verdict.BAD)


def said(check: raytt.TaskCheck) -> str:
    return " ".join(str(check).split())


def test_a_good_task() -> None:
    found = raytt.check(PLAIN, SPACE, target=0.2)
    assert found.passed
    assert {f.what for f in found.findings} == {
        "data", "batch", "network", "loss", "gradients", "evaluation", "journey", "step", "space", "target",
    }  # fmt: skip
    text = said(found)
    for part in (
        "40 samples, the same each time",
        "inputs float32 (8, 4), targets int64 (8,)",
        "67 weights train, 0 are frozen",
        "4 of 4 trainable parameters get one",
        "2 candidates: adamw, sgd; batch sizes 16, 32",
        "✓ target loss_ratio=0.2",
    ):
        assert part in text


def test_what_is_random_and_what_batches_hold() -> None:
    text = said(raytt.check(TASK))
    for part in ("augmentation", "2 batch norms use the statistics", "random in training mode"):
        assert part in text
    text = said(raytt.check(TOKENS))
    for part in ("attention_mask int64 (8,", "labels int64 (8,", "256 for validation", "random in training mode"):
        assert part in text


def test_the_same_in_eval_mode() -> None:
    found = raytt.check(replace(TASK, mode="eval"))
    assert found.passed
    assert "With mode='eval' one reading is kept" in said(found)


class Folding(nn.Linear):
    """Changes its weights on the way to eval mode and back."""

    def train(self, mode: bool = True) -> Folding:
        if mode != self.training:
            self.weight.data += -1.0 if mode else 1.0
        super().train(mode)
        return self


def test_networks_that_fold_themselves_are_told() -> None:
    def folding() -> nn.Module:
        torch.manual_seed(0)
        return Folding(4, 3)

    found = raytt.check(replace(PLAIN, model=folding))
    assert found.passed
    assert "changes its weights when it goes to eval mode" in said(found)


def unseeded() -> Any:
    return random_split(TensorDataset(X, Y), [30, 10])[0]


@functools.cache
def kept() -> nn.Module:
    return model()


def detached(model: nn.Module, inputs: Tensor) -> Tensor:
    with torch.no_grad():
        outputs: Tensor = model(inputs)
    return outputs


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": lambda: 1 / 0}, r"data: Trying the data failed: ZeroDivisionError.*test_check.py, line"),
        ({"data": unseeded}, "data: .*gives other samples each time.*Seed the split"),
        ({"data": [(X[0], 1), (X[0][:2], 2)]}, "batch: Samples cannot be stacked"),
        ({"model": lambda: nn.Linear(4, 3)}, "network: The model factory of task 'plain' gives other weights"),
        ({"model": kept}, "network: .*same network each time.*functools.cache"),
        ({"data": (X.double(), Y)}, r"pass: .*Double.*\.float\(\)"),
        ({"data": (X, Y + 1)}, "pass: .*Target 3 is out of bounds.*Number labels from 0"),
        ({"forward": detached}, r"pass: .*does not require grad.*torch\.no_grad"),
        ({"data": (X, torch.randn(40, 2)), "loss": nn.MSELoss()}, "pass: MSELoss compares outputs .*one target per"),
        ({"data": (X, Y), "loss": nn.TripletMarginLoss()}, "pass: .*batch_loss for losses of three"),
        ({"validation": (X * torch.nan, Y)}, "evaluation: The data holds NaN"),
        ({"collate": open}, "batch: "),
    ],
)
def test_what_is_wrong(changes: dict[str, Any], message: str) -> None:
    found = raytt.check(replace(PLAIN, **changes))
    assert not found.passed
    assert re.search(message, bad(found)), bad(found)


def test_what_cannot_travel() -> None:
    generator = (item for item in [(X[0], 0)])

    def data() -> Any:
        return (X, Y) if generator else None

    assert "journey: Task 'plain' cannot travel to workers" in bad(raytt.check(replace(PLAIN, data=data)))


@pytest.mark.parametrize(
    ("space", "target", "message"),
    [
        ([{"lr": 0.1, "batch_sise": 3}], None, "space: Unknown hyperparameter 'batch_sise'"),
        ([{"lr": 0.1, "batch_size": 64}], None, "space: A candidate has batch_size 64, but .* N = 40"),
        (None, "loss=-1", "target: .*cannot fall below 0"),
        (None, "val_loss=0.1", "target: .*needs validation data"),
    ],
)
def test_spaces_and_targets(space: Any, target: str | None, message: str) -> None:
    assert re.search(message, bad(raytt.check(PLAIN, space, target=target)))


def test_a_share_of_a_negative_loss_is_refused() -> None:
    def negative(outputs: Tensor, targets: Tensor) -> Tensor:
        return -outputs.mean()

    task = replace(PLAIN, loss=negative)
    assert "may be negative" in bad(raytt.check(task, target=0.1))
    assert raytt.check(task, target="loss=-3").passed
