"""Classes per token and pixel, wherever the outputs hold them."""

from __future__ import annotations

import pytest
import torch

from raytt.errors import InputError
from raytt.task.losses._layout import as_labels, as_outputs_have, flat_positions, share_of_correct

LABELS = torch.tensor([[0, 2, -100], [1, 1, 2]])


def test_positions_of_tokens_and_pixels() -> None:
    last = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(1))
    for outputs in (last, last.movedim(-1, 1)):
        flat, labels = flat_positions(outputs, LABELS)
        assert torch.equal(flat, last.reshape(6, 4))
        assert torch.equal(labels, LABELS.reshape(6))
    pixels = torch.randn(2, 4, 3, 5, generator=torch.Generator().manual_seed(1))
    flat, labels = flat_positions(pixels, torch.zeros(2, 3, 5, dtype=torch.int64))
    assert torch.equal(flat[1 * 15 + 2 * 5 + 3], pixels[1, :, 2, 3])
    assert labels.shape == (30,)


@pytest.mark.parametrize(
    ("outputs", "labels", "message"),
    [
        ((8, 9, 9), (8, 9), r"\(8, 9, 9\) with labels of shape \(8, 9\) may have their classes in the second or"),
        ((2, 4, 8, 8), (2, 32, 32), r"do not fit labels of shape \(2, 32, 32\).*interpolate"),
        ((8,), (8,), "do not fit"),
    ],
)
def test_other_shapes_are_refused(outputs: tuple[int, ...], labels: tuple[int, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        flat_positions(torch.zeros(outputs), torch.zeros(labels, dtype=torch.int64))


def test_ignored_positions_are_neither_right_nor_wrong() -> None:
    outputs = torch.nn.functional.one_hot(torch.tensor([[0, 2, 1], [1, 0, 0]]), 4).float()
    assert float(share_of_correct(outputs, LABELS)) == pytest.approx(3 / 5)
    assert float(share_of_correct(outputs, torch.full((2, 3), -100))) == 0.0


def test_labels_and_precision() -> None:
    assert as_labels(torch.tensor([1.0, 2.0], dtype=torch.float64)).dtype == torch.int64
    assert as_labels(torch.tensor([1, 2], dtype=torch.int32)).dtype == torch.int64
    assert as_labels(torch.tensor([0.5, 0.5])).dtype == torch.float32
    double = torch.zeros(2, dtype=torch.float64)
    assert as_outputs_have(torch.zeros(2), double).dtype == torch.float32
    assert as_outputs_have(torch.zeros(2, dtype=torch.bfloat16), double).dtype == torch.float32
