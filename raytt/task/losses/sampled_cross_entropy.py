"""Cross-entropy over many classes from few outputs of each sample.

A Jacobian has as many rows per sample as there are classes, C, and each costs a backward pass. But a sample's loss is
its own class against all the others together, and those can be estimated: of each sample some outputs s are kept, its
own class first, with weights w_s, the numbers of classes that they stand for (`raytt.probe.outputs`; Σ_s w_s = C). Then

    p_s = w_s exp(f_s) / Σ_r w_r exp(f_r)

is the probability of all classes that s stands for, and the sums over classes in loss and gradient have the true ones
as their means over draws (the logarithm is biased by second order).

Source: sampled softmax (Bengio and Senécal 2008; Jean et al. 2015), here with one draw per sample for a whole run.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from raytt.errors import InputError
from raytt.task.losses._base import Loss, check_outputs


@dataclass(frozen=True, kw_only=True)
class SampledCrossEntropy(Loss):
    """Softmax cross-entropy from k outputs per sample, its own class first. Targets are the weights w, shape (n, k).

    With smoothed target q_s = (1 − a)·[s = 0] + w_s a/C:  ℓ = ln Σ_s w_s exp(f_s) − Σ_s q_s f_s,  g = p − q,
    H = diag(p) − p pᵀ. With all weights 1 this is `raytt.task.losses.CrossEntropy` of targets 0.
    """

    label_smoothing: float = 0.0
    """Smoothing a in [0, 1)."""

    def value(self, outputs: Tensor, targets: Tensor) -> Tensor:
        shifted = outputs - outputs.detach().amax(dim=-1, keepdim=True)
        log_total = (shifted.exp() * targets).sum(dim=-1).log()
        if self.label_smoothing == 0.0:
            return log_total - shifted[..., 0]
        return log_total - (shifted * self._smoothed(targets)).sum(dim=-1)

    def residual(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return _probabilities(outputs, targets) - self._smoothed(targets)

    def curvature(self, outputs: Tensor, targets: Tensor, direction: Tensor) -> Tensor:
        p = _probabilities(outputs, targets)
        return p * (direction - (p * direction).sum(dim=-1, keepdim=True))

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Whether the own class is ahead of the others that were kept: more often so than of all C."""
        return outputs[..., 0] >= outputs.amax(dim=-1)

    def check(self, outputs: Tensor, targets: Tensor) -> None:
        check_outputs(outputs)
        if targets.shape != outputs.shape or not bool((targets >= 1.0).all()):
            raise InputError(
                f"Weights of shape {tuple(targets.shape)} do not fit outputs of shape {tuple(outputs.shape)}.",
                "Give each output the number of classes it stands for, at least 1.",
            )

    def _smoothed(self, weights: Tensor) -> Tensor:
        """q, shape ``(n, k)``."""
        smoothed = weights * (self.label_smoothing / weights.sum(dim=-1, keepdim=True))
        smoothed[..., 0] += 1.0 - self.label_smoothing
        return smoothed


def _probabilities(outputs: Tensor, weights: Tensor) -> Tensor:
    parts = (outputs - outputs.detach().amax(dim=-1, keepdim=True)).exp() * weights
    return parts / parts.sum(dim=-1, keepdim=True)
