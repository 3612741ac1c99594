"""Small problems on which the linearized network is exact, or solvable by hand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from raytt.dynamics.draws import path_seed
from raytt.dynamics.tangent import Samples, Tangent
from raytt.task.candidate import Candidate
from raytt.task.minibatches import minibatches


@dataclass(frozen=True, kw_only=True)
class FrozenBackbone:
    """A linear head with bias on frozen convolutional features: linear in its parameters, so that its tangent is
    exact.
    """

    features: Tensor
    labels: Tensor
    val_features: Tensor
    val_labels: Tensor
    head: nn.Linear
    tangent: Tangent


def frozen_backbone(*, num_samples: int = 60, num_validation: int = 20, num_outputs: int = 4) -> FrozenBackbone:
    """Images with one of ``num_outputs`` patterns and noise, through a small frozen network; everything in float64."""
    generator = torch.Generator().manual_seed(7)
    total = num_samples + num_validation
    labels = torch.randint(0, num_outputs, (total,), generator=generator)
    patterns = torch.randn(num_outputs, 1, 10, 10, generator=generator, dtype=torch.float64)
    images = 0.7 * patterns[labels] + torch.randn(total, 1, 10, 10, generator=generator, dtype=torch.float64)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        backbone = nn.Sequential(
            nn.Conv2d(1, 6, 3, stride=2), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.Tanh(), nn.Flatten()
        ).double()
        head = nn.Linear(32, num_outputs).double()
    with torch.no_grad():
        features = backbone(images)
    split = [slice(0, num_samples), slice(num_samples, None)]
    train, validation = (head_samples(head, features[part], labels[part]) for part in split)
    position = torch.zeros(train.jacobian.shape[2], dtype=torch.float64)
    return FrozenBackbone(
        features=features[split[0]],
        labels=labels[split[0]],
        val_features=features[split[1]],
        val_labels=labels[split[1]],
        head=head,
        tangent=Tangent(train=train, position=position, validation=validation),
    )


def head_samples(head: nn.Linear, features: Tensor, targets: Tensor) -> Samples:
    """Rows of all head parameters by autograd, unsketched, and J w₀ from them."""
    parameters = {name: p.detach() for name, p in head.named_parameters()}

    def forward(values: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(head, values, (features,))

    jacobians = torch.func.jacrev(forward)(parameters)
    shape = (*features.shape[:1], head.out_features, -1)
    rows = torch.cat([jacobians[name].reshape(shape) for name in parameters], dim=2)
    weights = torch.cat([value.reshape(-1) for value in parameters.values()])
    return Samples(outputs=forward(parameters), jacobian=rows, radial=rows @ weights, targets=targets)


def draws(num_samples: int, candidate: Candidate, steps: int, *, seed: int, path: int) -> np.ndarray:
    """The minibatches that a simulation gives a path."""
    return minibatches(num_samples, candidate.batch_size, steps, path_seed(seed, path))


def squared_problem(
    *, num_samples: int = 12, num_outputs: int = 2, width: int = 30, seed: int = 0, scale: float = 1.0
) -> Tangent:
    """Random rows, outputs and real targets, float64."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    samples = Samples(
        outputs=normal(num_samples, num_outputs),
        jacobian=scale * normal(num_samples, num_outputs, width) / width**0.5,
        radial=normal(num_samples, num_outputs),
        targets=normal(num_samples, num_outputs),
    )
    return Tangent(train=samples, position=torch.zeros(width, dtype=torch.float64))


def gram(tangent: Tangent) -> np.ndarray:
    """Θ of the training samples."""
    rows = tangent.train.jacobian.reshape(-1, tangent.train.jacobian.shape[2])
    return (rows @ rows.T).numpy()
