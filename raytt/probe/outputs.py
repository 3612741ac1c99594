"""Which outputs of a sample are probed where there are many classes.

Notation: C classes, k outputs probed per sample, y its class, p its softmax.

At the pre-trained weights nothing is known of a sample but y: its own output is probed and k − 1 drawn from the others
without replacement, each of which stands for (C − 1)/(k − 1) (`raytt.task.losses.sampled_cross_entropy`).

That alone is biased. An output that stands for m classes is moved m times as strongly by the sample's own gradient as
each of the m would be, so that losses fall too fast: along an SGD path with C = 120 by 23 % of the steps at the median
for k = 8, 15 % for 16, 12 % for 24 (``python -m benchmarks.many_outputs_variants``). Along a reference run two things
are done about it, after which it is 3 % for 24. With AdamW, whose preconditioner magnifies what was drawn, losses then
fall too slowly by 13 %, alike at all levels, so that the reference run's correction takes it out; not with k = 16.

* The a classes with the highest p at its end are taken as they are, with weight 1: what a sample is mistaken for.
* The others are drawn twice: h outputs are *measured*, the loss and p follow from them, and h different ones are
  *pulled* in their place, p_s of the s-th measured one being pulled along the gradient of the s-th other. Those that
  are measured are then not moved by what they stand for. Of the m classes that one stands for it is one itself: 1/m of
  its p is pulled along its own gradient.

k = 1 + a + 2h. The draw of a sample depends on the seed and its position alone, so that every worker, tangent point and
repetition makes the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from raytt.task.losses import Loss, check_labels
from raytt.task.minibatches import permutation
from raytt.task.task import Inputs
from raytt.training.model import PreparedModel

Index = NDArray[np.int64]

DRAWN_SHARE = 0.3
"""h/k, rounded down: of the outputs probed, those drawn to be measured, and as many to be pulled. With fewer the chosen
ones leave no room for what becomes likely later, with more what is likely is missed."""

_CLASSES = "raytt: classes"
_INPUTS = "raytt: inputs"


@dataclass(frozen=True, kw_only=True)
class FewOutputs:
    """A few outputs of each sample in place of all."""

    num_classes: int
    """C."""
    count: int
    """k < C."""
    seed: int
    """Of the draws."""

    @property
    def drawn(self) -> int:
        """Outputs drawn to be measured, and again to be pulled, h."""
        return int(DRAWN_SHARE * self.count)

    @property
    def chosen(self) -> int:
        """Outputs of the likeliest wrong classes, a."""
        return self.count - 1 - 2 * self.drawn

    def choose(
        self, labels: Tensor, positions: Index, split: str, likely: Index | None
    ) -> tuple[Index, NDArray[np.float32]]:
        """The classes to be probed, shape (n, k), the own one first, and the weights of those measured, (n, k_m).

        Args:
            labels: y, shape (n,).
            positions: In the data set of the split, shape (n,).
            split: Its name.
            likely: The a likeliest wrong classes of each at the end of a reference run, shape (n, a); None at the
                pre-trained weights.

        Raises:
            InputError: If a label is no class.
        """
        check_labels(labels, self.num_classes)
        known = 1 if likely is None else 1 + self.chosen
        rows = []
        for i, (label, position) in enumerate(zip(labels.tolist(), positions.tolist(), strict=True)):
            first = [label] if likely is None else [label, *likely[i].tolist()]
            order = permutation(self.num_classes, "raytt outputs", self.seed, split, position)
            others = order[~np.isin(order, first)]
            rows.append([*first, *others[: self.count - known].tolist()])
        weights = np.ones((len(rows), len(self.measured(on_path=likely is not None))), np.float32)
        weights[:, known:] = (self.num_classes - known) / (weights.shape[1] - known)
        return np.array(rows), weights

    def measured(self, *, on_path: bool) -> Index:
        """Columns of the chosen classes that are measured, shape (k_m,): 1 + a + h along a path, else all."""
        return np.arange(1 + self.chosen + self.drawn if on_path else self.count)

    def pulled(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Along a path: what the residual of each measured output is pulled with, ``(n, k, R) -> (n, k_m, R)``."""
        known = 1 + self.chosen
        own, other = rows[:, known : known + self.drawn], rows[:, known + self.drawn :]
        share = np.float32(self.drawn / (self.num_classes - known))
        return np.concatenate([rows[:, :known], share * own + (1 - share) * other], axis=1)

    def likely(self, outputs: Tensor, labels: Tensor) -> Index:
        """The a likeliest wrong classes of each sample, likeliest first, ``(n, C), (n,) -> (n, a)``."""
        wrong = outputs.double().cpu().scatter(1, labels.cpu().unsqueeze(1), -torch.inf)
        found: Index = wrong.argsort(dim=1, descending=True, stable=True)[:, : self.chosen].numpy()
        return found

    def narrow(self, network: PreparedModel) -> PreparedModel:
        """The same network with k outputs: those that its inputs, from `attach`, name."""
        return replace(network, forward=_gathered(network.forward))


def few_outputs(loss: Loss, num_outputs: int, most: int, seed: int) -> FewOutputs | None:
    """What is probed of C outputs with at most ``most`` per sample; None: all of them.

    Only a loss that has an estimate from few outputs (`Loss.sampled`) can do with few, such as cross-entropy: classes
    compete in it, so that those left out can be estimated from others. With squared error each output stands for
    itself.
    """
    if num_outputs <= most or loss.sampled() is None:
        return None
    return FewOutputs(num_classes=num_outputs, count=most, seed=seed)


def attach(inputs: Inputs, classes: Index) -> Inputs:
    """Inputs that say which outputs are wanted of each sample, (m, k); those of n > m samples repeat the first m."""
    n = len(next(iter(inputs.values())) if isinstance(inputs, Mapping) else inputs)
    repeated = torch.as_tensor(classes)[torch.arange(n) % len(classes)]
    return {**(inputs if isinstance(inputs, Mapping) else {_INPUTS: inputs}), _CLASSES: repeated}


def _gathered(forward: Callable[[nn.Module, Inputs], Tensor]) -> Callable[[nn.Module, Inputs], Tensor]:
    def gathered(module: nn.Module, inputs: Inputs) -> Tensor:
        assert isinstance(inputs, Mapping)
        own = {name: tensor for name, tensor in inputs.items() if name != _CLASSES}
        return forward(module, own.get(_INPUTS, own)).gather(1, inputs[_CLASSES])

    return gathered
