"""Losses against torch's own, and their derivatives against autograd."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from raytt.errors import InputError
from raytt.task.losses import CrossEntropy, CustomLoss, Loss, SquaredError, as_loss


def poisson(outputs: Tensor, targets: Tensor) -> Tensor:
    """A loss whose curvature differs from sample to sample and output to output, and couples outputs."""
    return (outputs.exp() - targets * outputs).sum(dim=1) + 0.1 * outputs.prod(dim=1)


LOSSES = {
    "cross-entropy": (CrossEntropy(), "classes"),
    "smoothed": (CrossEntropy(label_smoothing=0.2), "classes"),
    "squared": (SquaredError(), "numbers"),
    "custom": (CustomLoss(function=poisson), "numbers"),
}
NAMES = list(LOSSES)


def problem(name: str, lead: tuple[int, ...] = ()) -> tuple[Loss, Tensor, Tensor]:
    loss, kind = LOSSES[name]
    generator = torch.Generator().manual_seed(1)
    outputs = 2 * torch.randn(*lead, 6, 4, generator=generator, dtype=torch.float64)
    targets = torch.randint(0, 4, (6,), generator=generator)
    return loss, outputs, targets if kind == "classes" else torch.randn(6, 4, generator=generator).double()


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cross_entropy_is_torchs(smoothing: float, dtype: torch.dtype) -> None:
    _, outputs, targets = problem("cross-entropy")
    outputs = outputs.to(dtype)
    expected = torch.nn.CrossEntropyLoss(label_smoothing=smoothing, reduction="none")(outputs, targets)
    torch.testing.assert_close(CrossEntropy(label_smoothing=smoothing).value(outputs, targets), expected)


def test_squared_error_is_torchs() -> None:
    _, outputs, targets = problem("squared")
    expected = torch.nn.MSELoss()(outputs, targets) * 4 / 2
    torch.testing.assert_close(SquaredError().value(outputs, targets).mean(), expected)
    column = outputs[:, :1]
    torch.testing.assert_close(
        SquaredError().value(column, targets[:, 0]), SquaredError().value(column, targets[:, :1])
    )


@pytest.mark.parametrize("name", NAMES)
def test_residual_and_curvature_are_the_derivatives(name: str) -> None:
    loss, outputs, targets = problem(name)

    def total(f: Tensor) -> Tensor:
        return loss.value(f, targets).sum()

    leaf = outputs.clone().requires_grad_()
    (expected,) = torch.autograd.grad(total(leaf), leaf)
    torch.testing.assert_close(loss.residual(outputs, targets), expected)
    hessian = torch.autograd.functional.hessian(total, outputs)
    for seed in range(3):
        direction = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        product = torch.einsum("icjd,jd->ic", hessian, direction)
        torch.testing.assert_close(loss.curvature(outputs, targets, direction), product)


@pytest.mark.parametrize("name", NAMES)
def test_leading_dimensions_are_independent_copies(name: str) -> None:
    loss, outputs, targets = problem(name, lead=(3, 2))
    direction = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    value, residual = loss.value(outputs, targets), loss.residual(outputs, targets)
    curvature, correct = loss.curvature(outputs, targets, direction), loss.correct(outputs, targets)
    assert value.shape == (3, 2, 6)
    for i in range(3):
        for j in range(2):
            torch.testing.assert_close(value[i, j], loss.value(outputs[i, j], targets))
            torch.testing.assert_close(residual[i, j], loss.residual(outputs[i, j], targets))
            expected = loss.curvature(outputs[i, j], targets, direction[i, j])
            torch.testing.assert_close(curvature[i, j], expected)
            if correct is not None:
                torch.testing.assert_close(correct[i, j], loss.correct(outputs[i, j], targets))


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


def test_only_classes_can_be_correct() -> None:
    outputs = torch.tensor([[1.0, 2.0], [3.0, 0.0], [0.0, 0.0]])
    # A tie goes to the first class, as argmax has it: a head of zeros is right about class 0 only.
    assert CrossEntropy().correct(outputs, torch.tensor([1, 1, 0])).tolist() == [True, False, True]
    assert SquaredError().correct(outputs, outputs) is None
    assert CustomLoss(function=poisson).correct(outputs, outputs) is None


@pytest.mark.parametrize(
    ("loss", "outputs", "targets", "message"),
    [
        (CrossEntropy(), torch.zeros(3, 4), torch.tensor([0, 4, 1]), "Labels run from 0 to 4, but the network has 4"),
        (CrossEntropy(), torch.zeros(3, 4), torch.tensor([-1, 0, 1]), "Labels run from -1 to 1"),
        (CrossEntropy(), torch.zeros(3, 4), torch.zeros(3), "needs integer class labels"),
        (CrossEntropy(), torch.zeros(3, 4, 2), torch.zeros(3).long(), "outputs have shape"),
        (CrossEntropy(), torch.full((2, 2), torch.nan), torch.zeros(2).long(), "NaN or infinite"),
        (SquaredError(), torch.zeros(3, 2), torch.zeros(3), "targets as wide as the outputs"),
        (SquaredError(), torch.zeros(1, 1), torch.tensor([torch.inf]), "targets hold NaN or infinite"),
        (CustomLoss(function=lambda f, y: f.sum()), torch.zeros(3, 2), torch.zeros(3), r"one value per sample: \(3,\)"),
        (CustomLoss(function=lambda f, y: 1.0), torch.zeros(3, 2), torch.zeros(3), "The loss gave float"),
    ],
)
def test_what_does_not_fit_is_refused(loss: Loss, outputs: Tensor, targets: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        loss.check(outputs, targets)


@pytest.mark.parametrize("name", NAMES)
def test_what_fits_passes(name: str) -> None:
    loss, outputs, targets = problem(name)
    loss.check(outputs, targets)


def test_names_and_functions_become_losses() -> None:
    assert as_loss("cross_entropy") == CrossEntropy()
    assert as_loss("squared_error") == SquaredError()
    assert as_loss(poisson) == CustomLoss(function=poisson)
    smoothed = CrossEntropy(label_smoothing=0.1)
    assert as_loss(smoothed) is smoothed
    with pytest.raises(InputError, match="Unknown loss 'hinge'"):
        as_loss("hinge")
    with pytest.raises(InputError, match=r"label_smoothing is 1.0, outside \[0, 1\)"):
        CrossEntropy(label_smoothing=1.0)
