"""Gradient and curvature statistics against naive dense formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from raytt.dynamics.kernel.statistics import DENSE_BELOW, statistics_of
from raytt.dynamics.tangent import Samples
from raytt.task.losses import CrossEntropy, CustomLoss, Loss, SquaredError
from raytt.task.optimizers import Sgd


def samples(width: int, *, classes: bool) -> Samples:
    generator = torch.Generator().manual_seed(width)
    targets = torch.randint(0, 3, (9,), generator=generator) if classes else torch.randn(9, 3, generator=generator)
    return Samples(
        outputs=torch.randn(9, 3, generator=generator, dtype=torch.float64),
        jacobian=torch.randn(9, 3, width, generator=generator, dtype=torch.float64),
        radial=torch.zeros(9, 3, dtype=torch.float64),
        targets=targets,
    )


def huber(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.huber_loss(outputs, targets.to(outputs.dtype), reduction="none").sum(dim=1)


@pytest.mark.parametrize("width", [DENSE_BELOW - 8, DENSE_BELOW + 40], ids=["dense", "lanczos"])
@pytest.mark.parametrize(
    ("loss", "classes"),
    [(CrossEntropy(label_smoothing=0.1), True), (SquaredError(), False), (CustomLoss(function=huber), False)],
    ids=["cross-entropy", "squared", "custom"],
)
def test_against_dense_formulas(width: int, loss: Loss, classes: bool) -> None:
    s = samples(width, classes=classes)
    found = statistics_of(s, loss)

    def total(weights: torch.Tensor) -> torch.Tensor:
        return loss.value(s.outputs + s.jacobian @ weights, s.targets).mean()

    def single(weights: torch.Tensor, index: int) -> torch.Tensor:
        return loss.value(s.outputs + s.jacobian @ weights, s.targets)[index]

    origin = torch.zeros(width, dtype=torch.float64)
    gradient = torch.func.grad(total)(origin)
    per_sample = torch.stack([torch.func.grad(single)(origin, i) for i in range(9)])
    sigma = per_sample.T @ per_sample / 9 - torch.outer(gradient, gradient)
    hessian = torch.func.jacrev(torch.func.grad(total))(origin)
    assert found.mean_loss == pytest.approx(float(total(origin)))
    assert found.mean_residual_norm == pytest.approx(float(gradient.norm()))
    assert found.gradient_noise == pytest.approx(float(torch.trace(sigma)))
    assert found.top_curvature == pytest.approx(float(torch.linalg.eigvalsh(hessian)[-1]), rel=1e-5)
    assert found.stability_limit(Sgd(momentum=0.9)) == pytest.approx(3.8 / found.top_curvature)
    assert found.stability_share(Sgd(), 0.1) == pytest.approx(0.1 * found.top_curvature / 2.0)
    assert found.stability_share(Sgd(momentum=0.9), 0.1) == pytest.approx(0.2 * 1.0 * found.top_curvature / 2.0)
    assert found.stability_limit(Sgd(momentum=0.9, nesterov=True)) == pytest.approx(3.8 / 2.8 / found.top_curvature)


def test_same_bits_every_time_whatever_the_global_random_state() -> None:
    s = samples(200, classes=True)
    np.random.seed(0)
    first = statistics_of(s, CrossEntropy())
    np.random.seed(1)
    assert statistics_of(s, CrossEntropy()) == first


def test_nothing_that_curves_is_always_stable() -> None:
    for width in (5, 100):
        flat = Samples(
            outputs=torch.randn(4, 2, dtype=torch.float64),
            jacobian=torch.zeros(4, 2, width, dtype=torch.float64),
            radial=torch.zeros(4, 2, dtype=torch.float64),
            targets=torch.zeros(4, 2),
        )
        found = statistics_of(flat, SquaredError())
        assert found.top_curvature == 0.0
        assert found.stability_limit() == math.inf
