from __future__ import annotations

from typing import Any

import pytest
import torch

from raytt.errors import InputError
from raytt.task.losses import CustomLoss


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda f, y: f.sum(), r"The loss gave \(\) for outputs of shape \(3, 2\).*one value per sample: \(3,\)"),
        (lambda f, y: 1.0, "The loss gave float"),
    ],
)
def test_functions_that_give_no_value_per_sample_are_refused(function: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        CustomLoss(function=function).check(torch.zeros(3, 2), torch.zeros(3))


def test_class_probabilities_as_the_message_of_cross_entropy_advises() -> None:
    loss = CustomLoss(function=lambda f, q: torch.nn.functional.cross_entropy(f, q, reduction="none"))
    outputs = torch.randn(5, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    q = torch.softmax(outputs.flip(0), dim=1)
    loss.check(outputs, q)
    torch.testing.assert_close(loss.residual(outputs, q), torch.softmax(outputs, dim=1) - q)
