"""Discrete steps of each optimizer on a simplified network, each in a file of its own, registered by its name.

A stepper holds the state of M candidates that share an optimizer and makes their updates.
"""

from __future__ import annotations

from collections.abc import Sequence

from raytt.dynamics.network import Network
from raytt.dynamics.steppers._base import Stepper, StepperFactory, optimizers_of
from raytt.dynamics.steppers.adam import AdamStepper
from raytt.dynamics.steppers.adamw import AdamWStepper
from raytt.dynamics.steppers.preconditioner import Preconditioner
from raytt.dynamics.steppers.rmsprop import RMSpropStepper
from raytt.dynamics.steppers.sgd import SgdStepper
from raytt.task.candidate import Candidate
from raytt.task.optimizers import Adam, AdamW, RMSprop, Sgd
from raytt.task.registry import Registry

STEPPERS: Registry[StepperFactory] = Registry("optimizer to simulate")
STEPPERS.register(Sgd.name, SgdStepper)
STEPPERS.register(AdamW.name, AdamWStepper)
STEPPERS.register(Adam.name, AdamStepper)
STEPPERS.register(RMSprop.name, RMSpropStepper)


def stepper_of(
    network: Network, candidates: Sequence[Candidate], preconditioner: Preconditioner | None = None
) -> Stepper:
    """The stepper of candidates that share an optimizer, at the pre-trained weights.

    Args:
        network: The simplified network; in scaled coordinates for an adaptive optimizer.
        candidates: M ≥ 1.
        preconditioner: Of an adaptive optimizer, see `raytt.dynamics.steppers._adaptive`.

    Raises:
        InputError: If no stepper is registered for their optimizer.
        ValueError: If they do not share one.
    """
    (name,) = {c.optimizer.name for c in candidates}
    return STEPPERS.get(name)(network, candidates, preconditioner)


__all__ = ["STEPPERS", "Preconditioner", "Stepper", "optimizers_of", "stepper_of"]
