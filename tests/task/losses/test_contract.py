"""What holds for every registered loss, for a user's function, and for the estimate from few outputs.

A new loss needs an entry in EXAMPLES and passes without another line.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from raytt.errors import InputError
from raytt.task.losses import (
    LOSSES,
    AbsoluteError,
    BinaryCriterion,
    ClassCriterion,
    Criterion,
    CrossEntropy,
    CustomLoss,
    Focal,
    Huber,
    KullbackLeibler,
    Loss,
    MeanSquaredError,
    SampledCrossEntropy,
    SmoothL1,
    SquaredError,
    as_loss,
)

N, C = 6, 4


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def classes() -> Tensor:
    return torch.randint(0, C, (N,), generator=generator(1))


def numbers() -> Tensor:
    return torch.randn(N, C, generator=generator(2), dtype=torch.float64)


def shares() -> Tensor:
    return torch.softmax(numbers(), dim=1)


def weights() -> Tensor:
    return torch.tensor([1.0, 1.0, 3.0, 3.0], dtype=torch.float64).expand(N, C)


def poisson(outputs: Tensor, targets: Tensor) -> Tensor:
    """A loss whose curvature differs from sample to sample and output to output, and couples outputs."""
    return (outputs.exp() - targets * outputs).sum(dim=1) + 0.1 * outputs.prod(dim=1)


Example = tuple[Loss, Callable[[], Tensor]]

EXAMPLES: dict[str, tuple[Example, ...]] = {
    "cross_entropy": ((CrossEntropy(), classes), (CrossEntropy(label_smoothing=0.2), classes)),
    "squared_error": ((SquaredError(), numbers),),
    "binary_cross_entropy": (
        (BinaryCriterion(), shares),
        (BinaryCriterion(module=nn.BCEWithLogitsLoss(pos_weight=torch.tensor([1.0, 2.0, 3.0, 0.5]))), shares),
    ),
    "mean_squared_error": ((MeanSquaredError(), numbers),),
    "l1": ((AbsoluteError(), numbers),),
    "smooth_l1": ((SmoothL1(), numbers), (SmoothL1(module=nn.SmoothL1Loss(beta=0.3)), numbers)),
    "huber": ((Huber(), numbers), (Huber(module=nn.HuberLoss(delta=0.3)), numbers)),
    "focal": ((Focal(), classes), (Focal(gamma=1.5, alpha=(1.0, 2.0, 0.5, 1.0)), classes)),
}
UNNAMED: tuple[Example, ...] = (
    (ClassCriterion(module=nn.CrossEntropyLoss(label_smoothing=0.2)), classes),
    (ClassCriterion(module=nn.CrossEntropyLoss()), shares),
    (KullbackLeibler(), shares),
    (Criterion(module=nn.PoissonNLLLoss()), lambda: shares() * 5),
    (CustomLoss(function=poisson), numbers),
    (SampledCrossEntropy(), weights),
    (SampledCrossEntropy(label_smoothing=0.2), weights),
)


def named() -> Iterator[Example]:
    for name in LOSSES.names():
        yield from EXAMPLES[name]


def label(value: Loss | Tensor) -> str:
    """The same in every process, as parallel test runs need it."""
    return str(value.dtype) if isinstance(value, Tensor) else type(value).__name__


every_loss = pytest.mark.parametrize(("loss", "targets"), [(e[0], e[1]()) for e in (*named(), *UNNAMED)], ids=label)
named_loss = pytest.mark.parametrize(("loss", "targets"), [(e[0], e[1]()) for e in named()], ids=label)


def outputs_of(*lead: int) -> Tensor:
    return 2 * torch.randn(*lead, N, C, generator=generator(3), dtype=torch.float64)


def test_examples_are_of_the_registered_classes_and_begin_with_what_the_name_means() -> None:
    for name in LOSSES.names():
        assert as_loss(name) == EXAMPLES[name][0][0]
        assert {type(loss) for loss, _ in EXAMPLES[name]} == {LOSSES.get(name)}


@every_loss
def test_there_is_one_finite_value_per_sample(loss: Loss, targets: Tensor) -> None:
    value = loss.value(outputs_of(), targets)
    assert value.shape == (N,)
    assert bool(torch.isfinite(value).all())


@every_loss
def test_residual_is_the_gradient_of_the_value(loss: Loss, targets: Tensor) -> None:
    leaf = outputs_of().requires_grad_()
    (expected,) = torch.autograd.grad(loss.value(leaf, targets).sum(), leaf)
    torch.testing.assert_close(loss.residual(outputs_of(), targets), expected)


@every_loss
def test_curvature_is_the_hessian_of_the_value(loss: Loss, targets: Tensor) -> None:
    hessian = torch.autograd.functional.hessian(lambda f: loss.value(f, targets).sum(), outputs_of())
    for seed in range(3):
        direction = torch.randn(N, C, generator=generator(seed), dtype=torch.float64)
        product = torch.einsum("icjd,jd->ic", hessian, direction)
        torch.testing.assert_close(loss.curvature(outputs_of(), targets, direction), product)


@every_loss
def test_leading_dimensions_are_independent_copies(loss: Loss, targets: Tensor) -> None:
    outputs = outputs_of(3, 2)
    direction = torch.randn(outputs.shape, generator=generator(0), dtype=torch.float64)
    value, residual = loss.value(outputs, targets), loss.residual(outputs, targets)
    curvature, correct = loss.curvature(outputs, targets, direction), loss.correct(outputs, targets)
    assert value.shape == (3, 2, N)
    for i in range(3):
        for j in range(2):
            torch.testing.assert_close(value[i, j], loss.value(outputs[i, j], targets))
            torch.testing.assert_close(residual[i, j], loss.residual(outputs[i, j], targets))
            expected = loss.curvature(outputs[i, j], targets, direction[i, j])
            torch.testing.assert_close(curvature[i, j], expected)
            if correct is not None:
                torch.testing.assert_close(correct[i, j], loss.correct(outputs[i, j], targets))


@named_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_all_is_finite_at_extreme_outputs(loss: Loss, targets: Tensor, dtype: torch.dtype) -> None:
    size = torch.tensor([1e4, -1e4, 0.0, 1e4], dtype=dtype)
    for outputs in (size.expand(N, C), -size.expand(N, C), torch.full((N, C), 1e4, dtype=dtype)):
        direction = torch.ones(N, C, dtype=dtype)
        for found in (
            loss.value(outputs, targets),
            loss.residual(outputs, targets),
            loss.curvature(outputs, targets, direction),
        ):
            assert bool(torch.isfinite(found).all())


@every_loss
def test_in_training_mode_the_loss_of_a_batch_is_the_mean_of_its_samples(loss: Loss, targets: Tensor) -> None:
    if not isinstance(loss, Focal | SampledCrossEntropy):
        torch.testing.assert_close(loss.batch_value(outputs_of(), targets), loss.value(outputs_of(), targets).mean())
    assert loss.convert_batch(targets) is targets


@every_loss
def test_what_fits_is_kept_as_it_is_and_passes(loss: Loss, targets: Tensor) -> None:
    assert loss.convert(targets) is targets
    loss.check(outputs_of(), targets)


@every_loss
def test_outputs_that_cannot_be_used_are_refused(loss: Loss, targets: Tensor) -> None:
    with pytest.raises(InputError, match="outputs have shape"):
        loss.check(torch.zeros(N, C, 2), targets)
    with pytest.raises(InputError, match="NaN or infinite values at the pre-trained weights"):
        loss.check(torch.full((N, C), torch.nan), targets)


@every_loss
def test_no_value_lies_below_the_floor(loss: Loss, targets: Tensor) -> None:
    outputs = 3 * torch.randn(1000, N, C, generator=generator(4), dtype=torch.float64)
    assert float(loss.value(outputs, targets).min()) >= loss.floor(C)


@named_loss
def test_an_estimate_from_few_outputs_is_the_loss_where_those_are_all(loss: Loss, targets: Tensor) -> None:
    sampled = loss.sampled()
    if sampled is None:
        return
    own = torch.zeros(N, dtype=torch.int64)
    ones = torch.ones(N, C, dtype=torch.float64)
    torch.testing.assert_close(sampled.value(outputs_of(), ones), loss.value(outputs_of(), own))


@every_loss
def test_losses_travel_to_workers(loss: Loss, targets: Tensor) -> None:
    copy = pickle.loads(pickle.dumps(loss))
    assert copy == loss
    assert repr(copy) == repr(loss)


def test_defaults_of_a_loss_that_says_nothing_else() -> None:
    class PlainError(SquaredError):
        floor = Loss.floor

    plain, targets = PlainError(), numbers()
    assert plain.convert(targets) is targets
    assert plain.floor(C) == -math.inf
    assert plain.sampled() is None
    assert plain.identity() is plain
    assert plain.correct(outputs_of(), targets) is None


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"Unknown loss 'cross_entrpy'\. Did you mean 'cross_entropy'\? Known: "):
        as_loss("cross_entrpy")
    with pytest.raises(InputError, match=r"The loss is 3\. Give a name \(cross_entropy, squared_error, .*focal\)"):
        as_loss(3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"The loss is the class MSELoss\. Give an instance: loss=MSELoss\(\)"):
        as_loss(nn.MSELoss)


def test_losses_and_functions_are_taken() -> None:
    smoothed = CrossEntropy(label_smoothing=0.1)
    assert as_loss(smoothed) is smoothed
    assert as_loss(poisson) == CustomLoss(function=poisson)
