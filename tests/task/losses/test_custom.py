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


def test_one_number_for_the_batch_is_taken_in_training_mode() -> None:
    def contrast(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(outputs @ targets.T, torch.arange(len(outputs)))

    loss = CustomLoss(function=contrast)
    outputs = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
    # Double targets meet single outputs.
    torch.testing.assert_close(loss.batch_value(outputs, outputs.flip(0).double()), contrast(outputs, outputs.flip(0)))
    with pytest.raises(InputError, match="mode='train', which takes one number"):
        loss.check(outputs, outputs)


def test_per_sample_losses_are_averaged_and_other_things_refused() -> None:
    outputs = torch.ones(4, 2)
    assert CustomLoss(function=lambda f, y: f.sum(dim=1)).batch_value(outputs, outputs).item() == 2.0
    # Outputs may be whatever the network returns.
    pair: Any = (outputs, 3 * outputs)
    assert CustomLoss(function=lambda f, y: (f[0] * f[1]).mean()).batch_value(pair, outputs).item() == 3.0
    with pytest.raises(InputError, match="The loss gave float, not a tensor"):
        CustomLoss(function=lambda f, y: 1.0).batch_value(outputs, outputs)  # type: ignore[arg-type, return-value]
