"""Whether a loss may be negative, tried out on outputs like the network's.

Of a loss function nothing is known but its values. It is asked for single samples with random outputs that keep what
the network's own have in common: rows of log-probabilities, of probabilities, of norm one, columns of one sign. So a
divergence that needs log-probabilities is not asked for what no network gives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from raytt.task.losses import Loss

DRAWS = 8
"""Random outputs per sample and scale."""
SCALES = (0.3, 1.0, 3.0)
"""Standard deviations of them."""
MOST_NUMBERS = 1_000_000
"""Outputs drawn at a time, at most: what takes longer to draw than a pass takes is not asked for. A guard."""
TOLERANCE = 1e-5
"""Numbers above −1e−5 count as rounding of zero: a numerical guard."""


@torch.no_grad()
def lowest_value(loss: Loss, outputs: Any, targets: Any) -> float:
    """The lowest loss of a single sample among random outputs; 0 where the loss is known not to be negative; +inf where
    it cannot be asked for single samples.

    Args:
        loss: What is asked.
        outputs: Of the network for a minibatch, samples first.
        targets: Of the minibatch, samples first.
    """
    if loss.floor(1) >= 0.0:
        return 0.0
    if not isinstance(outputs, Tensor) or not isinstance(targets, Tensor) or not outputs.ndim > 1:
        return float("inf")
    if not outputs.is_floating_point() or targets.ndim == 0 or len(targets) != len(outputs):
        return float("inf")
    samples = min(len(outputs), MOST_NUMBERS // max(1, outputs[0].numel()))
    if samples == 0:
        return float("inf")
    outputs, targets = outputs[:samples], targets[:samples]
    shaped = _form(outputs)
    generator = torch.Generator().manual_seed(0)
    found = [float("inf")]
    for scale in SCALES:
        for _ in range(DRAWS):
            noise = torch.randn(outputs.shape, generator=generator).to(outputs)
            drawn = shaped(scale * noise)
            try:
                found += [float(loss.batch_value(drawn[i : i + 1], targets[i : i + 1])) for i in range(len(outputs))]
            except Exception:
                # Such as a loss that needs several samples: nothing can be said of it.
                return float("inf")
    finite = [value for value in found if value == value]
    lowest = min(finite)
    return lowest if lowest < -TOLERANCE else max(lowest, 0.0)


def _form(outputs: Tensor) -> Callable[[Tensor], Tensor]:
    """What makes random numbers outputs of the same kind."""
    own = outputs.detach().float()
    ones = torch.ones(())
    for dim in {1, outputs.ndim - 1}:
        if torch.allclose(own.logsumexp(dim), ones * 0.0, atol=1e-3):
            return lambda drawn, dim=dim: drawn.log_softmax(dim)  # type: ignore[misc]
        if bool((own >= 0.0).all()) and torch.allclose(own.sum(dim), ones, atol=1e-3):
            return lambda drawn, dim=dim: drawn.softmax(dim)  # type: ignore[misc]
        if torch.allclose(own.square().sum(dim), ones, atol=1e-3):
            return lambda drawn, dim=dim: torch.nn.functional.normalize(drawn, dim=dim)  # type: ignore[misc]
    if bool(((own > 0.0) & (own < 1.0)).all()):
        return torch.sigmoid
    positive = (own > 0.0).flatten(0, -2).all(dim=0)
    return lambda drawn: torch.where(positive, drawn.abs(), drawn)
