"""Counts are held against closed forms written out here, layer by layer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from raytt.pricing.work import StepWork
from raytt.task.task import Task
from raytt.training.step_work import UPDATE_ACCESSES, count_work

CLASSES = 5
LABELS = torch.zeros(10, dtype=torch.int64)


def task(model: Any, data: Any, **options: Any) -> Task:
    return Task(mode="eval", name="t", model=model, data=data, **options)


def linear_task(**options: Any) -> Task:
    return task(
        lambda: nn.Sequential(nn.Linear(7, 11, bias=False), nn.Linear(11, CLASSES, bias=False)),
        (torch.zeros(10, 7), LABELS),
        **options,
    )


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_linear_layers(batch: int) -> None:
    work = count_work(linear_task(), [batch])[batch]
    # Forward and weight gradient of both, input gradient of the second: 2 operations per multiply-add.
    assert work.other_flops == 2 * batch * (2 * 7 * 11 + 3 * 11 * CLASSES)
    assert work.conv_flops == 0


def test_frozen_layers_have_no_weight_gradient() -> None:
    work = count_work(linear_task(trainable=["1.*"]), [4])[4]
    assert work.other_flops == 2 * 4 * (7 * 11 + 2 * 11 * CLASSES)


@pytest.mark.parametrize("groups", [1, 2])
def test_convolutions_count_apart(groups: int) -> None:
    net = lambda: nn.Sequential(nn.Conv2d(4, 6, 3, groups=groups), nn.Flatten(), nn.Linear(6 * 36, CLASSES))  # noqa: E731
    work = count_work(task(net, (torch.zeros(10, 4, 8, 8), LABELS)), [3])[3]
    # Forward and weight gradient; the images need no gradient.
    assert work.conv_flops == 2 * (2 * 3 * 6 * (4 // groups) * 9 * 36)
    assert work.other_flops == 2 * 3 * (6 * 36 * CLASSES) * 3


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(8, 8, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        queries = self.query(x).unsqueeze(1)
        return nn.functional.scaled_dot_product_attention(queries, x.unsqueeze(1), x.unsqueeze(1)).mean(dim=(1, 2))


def test_fused_attention_is_counted() -> None:
    tokens = 6
    work = count_work(task(Attention, (torch.zeros(10, tokens, 8), LABELS)), [2])[2]
    projections = 2 * (2 * 2 * tokens * 8 * 8)
    # Two products forward; backward those that lead to the queries: gradients of the weights and of the queries.
    attention = (2 + 2) * (2 * 2 * tokens * tokens * 8)
    assert work.other_flops == projections + attention


def test_operations_are_counted_whatever_the_batch() -> None:
    found = count_work(linear_task(), [2, 10])
    # Two products forward and three backward, and those of the loss.
    assert 5 < found[2].num_operations < 40
    assert found[2].num_operations == found[10].num_operations
    deeper = task(lambda: nn.Sequential(*[nn.Linear(7, 7, bias=False) for _ in range(4)]), (torch.zeros(10, 7), LABELS))
    two = task(lambda: nn.Sequential(*[nn.Linear(7, 7, bias=False) for _ in range(2)]), (torch.zeros(10, 7), LABELS))
    # A product forward and two backward for each layer more.
    assert count_work(deeper, [2])[2].num_operations - count_work(two, [2])[2].num_operations == 2 * 3


def test_bytes_of_one_linear_layer() -> None:
    def net() -> nn.Module:
        return nn.Linear(100, CLASSES, bias=False)

    work = count_work(task(net, (torch.zeros(10, 100), LABELS)), [64])[64]
    weights, inputs, outputs = 100 * CLASSES, 64 * 100, 64 * CLASSES
    update = UPDATE_ACCESSES * weights
    # Forward and weight gradient each touch all three. The loss on the few outputs is not written out here.
    least = 4 * (2 * (weights + inputs + outputs) + update)
    assert least < work.num_bytes < least + 4 * 30 * outputs


def test_sizes_between_are_on_the_line_through_the_ends() -> None:
    ends = count_work(linear_task(), [2, 10, 18])
    middle = count_work(linear_task(), [10])[10]
    assert ends[10].other_flops == pytest.approx(middle.other_flops)
    assert ends[10].num_bytes == pytest.approx(middle.num_bytes)
    assert list(ends) == [2, 10, 18]


def test_half_precision_and_mappings() -> None:
    def forward(model: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
        return model(inputs["x"].to(torch.bfloat16))

    mapped = task(
        lambda: nn.Linear(7, CLASSES, dtype=torch.bfloat16), ({"x": torch.zeros(10, 7)}, LABELS), forward=forward
    )
    assert count_work(mapped, [4])[4].dtype == "bfloat16"


def test_a_million_samples_take_no_memory() -> None:
    assert count_work(linear_task(), [10**9])[10**9].other_flops == 2 * 10**9 * (2 * 7 * 11 + 3 * 11 * CLASSES)


def test_networks_that_look_at_values_say_so() -> None:
    class Looking(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(7, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x) if float(x.sum()) >= 0 else -self.inner(x)

    with pytest.raises(Exception, match="_local_scalar_dense"):
        count_work(task(Looking, (torch.zeros(10, 7), LABELS)), [2])


def test_work_is_positive() -> None:
    with pytest.raises(ValueError, match="work of"):
        StepWork(batch_size=1, conv_flops=1.0, other_flops=0.0, num_bytes=0.0, num_operations=1, dtype="float32")
