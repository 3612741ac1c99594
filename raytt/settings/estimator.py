"""How learning curves are predicted: the probe, the reference run and the simulation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from raytt.errors import InputError
from raytt.settings.declaration import Rule, Settings

Precision = Literal["float32", "bfloat16"]
"""Of a network's forward and backward passes, see `raytt.probe.precision`."""
Method = Literal["sgd", "sde"]
"""Solver of the training dynamics, see `raytt.dynamics.simulate`."""


@dataclass(frozen=True, kw_only=True)
class EstimatorSettings(Settings):
    """What the accuracy of a prediction depends on, and the time that it takes.

    Raises:
        InputError: If a value cannot be one, or two of them contradict each other.
    """

    samples: Annotated[int | None, Rule(at_least=1)] = None
    """Training samples to probe. Default: 512, or all where there are fewer; at least the largest batch."""
    proj_dim: Annotated[int, Rule(at_least=1)] = 2048
    """Sketch dimension R of the Jacobian rows."""
    precision: Precision = "float32"
    """Precision of the network's passes in the probe; per-sample gradients and sketches add up in float32 anyway."""
    max_outputs: Annotated[int, Rule(at_least=8)] = 24
    """Outputs probed per sample, at most; with more classes these stand for the others. Below 24 predictions with
    AdamW were off."""
    method: Method = "sgd"
    """Solver: the optimizer's own steps, or a stochastic differential equation."""
    reference_steps: Annotated[int | None, Rule(at_least=0)] = None
    """Most steps of the reference run, a short real training of one candidate per optimizer along which predictions are
    made. Default: so many that it costs a tenth of training all candidates to the end of their budgets; 0: none, the
    training-free method."""
    minibatches: Annotated[int, Rule(at_least=2)] = 16
    """With mode='train': minibatches per descent rate, for each saved state of the reference run and batch size."""
    pilots: Annotated[int | None, Rule(at_least=0)] = None
    """With mode='train': candidates trained for real to the target, chosen where the ranking is in doubt; predictions
    of the others learn from them. Default: up to 4, as long as the first choice is in doubt, for at most a twentieth of
    what training all candidates takes; 0: none."""
    num_paths: Annotated[int, Rule(at_least=1)] = 4
    """Simulated runs per candidate."""
    screen: bool = True
    """Of more than 256 candidates, simulate those that cost more than 3 times the cheapest once only."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.method == "sde" and self.reference_steps:
            raise InputError(
                f"method is 'sde' with reference_steps {self.reference_steps}: the equation has a single tangent.",
                "Use method 'sgd', or leave reference_steps out.",
            )

    @property
    def most_reference_steps(self) -> int | None:
        """Most steps of the reference run that the method allows; None: by its cost; 0: there is none."""
        return 0 if self.method == "sde" else self.reference_steps
