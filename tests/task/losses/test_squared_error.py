from __future__ import annotations

import pytest
import torch
from torch import Tensor

from raytt.errors import InputError
from raytt.task.losses import SquaredError


def test_equals_torch_but_for_the_factor() -> None:
    generator = torch.Generator().manual_seed(1)
    outputs, targets = torch.randn(2, 6, 4, generator=generator, dtype=torch.float64)
    expected = torch.nn.MSELoss()(outputs, targets) * 4 / 2
    torch.testing.assert_close(SquaredError().value(outputs, targets).mean(), expected)


def test_targets_of_one_output_may_be_flat() -> None:
    outputs, targets = torch.randn(2, 6, 1, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(SquaredError().value(outputs, targets[:, 0]), SquaredError().value(outputs, targets))


@pytest.mark.parametrize(
    ("outputs", "targets", "message"),
    [
        (torch.zeros(3, 2), torch.zeros(3), "targets as wide as the outputs"),
        (torch.zeros(1, 1), torch.tensor([torch.inf]), "targets hold NaN or infinite"),
    ],
)
def test_targets_that_do_not_fit_are_refused(outputs: Tensor, targets: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        SquaredError().check(outputs, targets)


def test_no_answer_is_correct() -> None:
    assert SquaredError().correct(torch.zeros(2, 1), torch.zeros(2)) is None
