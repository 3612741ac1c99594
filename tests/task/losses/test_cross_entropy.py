from __future__ import annotations

import pytest
import torch
from torch import Tensor

from raytt.errors import InputError
from raytt.task.losses import CrossEntropy, SampledCrossEntropy


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_torch(smoothing: float, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(1)
    outputs = 2 * torch.randn(6, 4, generator=generator, dtype=dtype)
    targets = torch.randint(0, 4, (6,), generator=generator)
    expected = torch.nn.CrossEntropyLoss(label_smoothing=smoothing, reduction="none")(outputs, targets)
    torch.testing.assert_close(CrossEntropy(label_smoothing=smoothing).value(outputs, targets), expected)


def test_far_out_outputs_neither_overflow_nor_lose_the_loss() -> None:
    outputs = torch.tensor([[1000.0, -1000.0, 0.0], [-1e30, 1e30, 0.0]])
    targets = torch.tensor([1, 1])
    assert CrossEntropy().value(outputs, targets).tolist() == [2000.0, 0.0]
    torch.testing.assert_close(
        CrossEntropy().residual(outputs, targets), torch.tensor([[1.0, -1.0, 0.0], [0.0, 0.0, 0.0]])
    )
    torch.testing.assert_close(  # −log(1/(1 + 2e^{−12})) in float32, as exact as torch has it
        CrossEntropy().value(torch.tensor([[12.0, 0.0, 0.0]]), torch.tensor([0])),
        torch.nn.functional.cross_entropy(torch.tensor([[12.0, 0.0, 0.0]]), torch.tensor([0]), reduction="none"),
    )


def test_a_tie_goes_to_the_first_class() -> None:
    outputs = torch.tensor([[1.0, 2.0], [3.0, 0.0], [0.0, 0.0]])
    # As argmax has it: a head of zeros is right about class 0 only.
    assert CrossEntropy().correct(outputs, torch.tensor([1, 1, 0])).tolist() == [True, False, True]


@pytest.mark.parametrize(
    "targets",
    [
        torch.tensor([2, 0, 1], dtype=torch.int32),
        torch.tensor([2, 0, 1], dtype=torch.uint8),
        torch.tensor([2.0, 0.0, 1.0], dtype=torch.float64),
        torch.tensor([2.0, 0.0, 1.0], dtype=torch.float16),
        torch.tensor([[2], [0], [1]]),
        torch.tensor([[2.0], [0.0], [1.0]]),
        torch.tensor([[0, 0, 1], [1, 0, 0], [0, 1, 0]]),
        torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
        torch.tensor([[False, False, True], [True, False, False], [False, True, False]]),
    ],
    ids=lambda t: f"{t.dtype} {tuple(t.shape)}",
)
def test_targets_with_one_meaning_become_class_indices(targets: Tensor) -> None:
    labels = CrossEntropy().convert(targets)
    assert labels.dtype == torch.int64
    assert labels.tolist() == [2, 0, 1]
    CrossEntropy().check(torch.zeros(3, 3), labels)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (torch.tensor([0.0, 1.5]), r"needs class indices, but the targets hold 1\.5\. .*'squared_error'"),
        (torch.tensor([0.0, torch.nan]), "the targets hold nan"),
        (torch.tensor([[0.5, 0.5], [1.0, 0.0]]), r"torch.float32 of shape \(2, 2\)\. .*For class probabilities give"),
        (torch.tensor([[1, 1], [1, 0]]), r"one-hot rows, but the targets are torch.int64 of shape \(2, 2\)"),
        (torch.zeros(2, 2, 2), r"torch.float32 of shape \(2, 2, 2\)"),
        (torch.zeros(2, dtype=torch.complex64), "are torch.complex64"),
    ],
)
def test_targets_of_other_meanings_are_refused(targets: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        CrossEntropy().convert(targets)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (torch.tensor([0, 4, 1]), "Labels run from 0 to 4, but the network has 4"),
        (torch.tensor([-1, 0, 1]), "Labels run from -1 to 1"),
        (torch.zeros(3), "needs integer class labels"),
        (torch.zeros(3, dtype=torch.int32), "needs integer class labels"),
    ],
)
def test_labels_that_do_not_fit_are_refused(targets: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        CrossEntropy().check(torch.zeros(3, 4), targets)


def test_smoothing_goes_over_to_few_outputs_and_is_checked() -> None:
    assert CrossEntropy(label_smoothing=0.1).sampled() == SampledCrossEntropy(label_smoothing=0.1)
    with pytest.raises(InputError, match=r"label_smoothing is 1.0, outside \[0, 1\)"):
        CrossEntropy(label_smoothing=1.0)
