"""What a stepper is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from torch import Tensor

from raytt.dynamics.network import Batch, Network
from raytt.dynamics.steppers.preconditioner import Preconditioner
from raytt.task.candidate import Candidate
from raytt.task.losses import Loss
from raytt.task.optimizers import Optimizer

Own = TypeVar("Own", bound=Optimizer)


class Stepper(Protocol):
    """An optimizer's state and update of M rows."""

    state: Tensor
    """Of the network, shape (M, width)."""

    @property
    def alpha(self) -> Tensor | None:
        """α per row, shape (M,), or None where no row decays."""

    def step(self, loss: Loss, batch: Batch, lr: Tensor) -> None:
        """One optimizer step on a batch with learning rates ``lr`` (M, 1)."""

    def keep(self, rows: Tensor) -> None:
        """Go on with ``rows`` (positions among the current ones) only."""


class StepperFactory(Protocol):
    """Makes the stepper of M candidates that share an optimizer, at the pre-trained weights."""

    def __call__(
        self, network: Network, candidates: Sequence[Candidate], preconditioner: Preconditioner | None = None
    ) -> Stepper: ...


def optimizers_of(candidates: Sequence[Candidate], kind: type[Own]) -> list[Own]:
    """The optimizers of candidates, all of one kind.

    Raises:
        ValueError: If one is of another kind.
    """
    found = [c.optimizer for c in candidates if isinstance(c.optimizer, kind)]
    if len(found) < len(candidates):
        raise ValueError(f"the stepper of {kind.name} was given {sorted({c.optimizer.name for c in candidates})}")
    return found
