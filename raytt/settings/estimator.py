"""How learning curves are predicted: the probe, the reference run and the simulation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from raytt.errors import InputError
from raytt.settings.declaration import Rule, Settings

DEFAULT_COST_SHARE = 0.05
"""Of what training all candidates costs."""
MOST_COST_SHARE = 0.2
"""A bound: whoever would pay more for a ranking is better served by training the few best of a cheaper one."""
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
    cost_share: Annotated[float | None, Rule(above=0.0, at_most=MOST_COST_SHARE)] = None
    """With mode='train': what the ranking may cost, start-up included, as a share of training all candidates to the
    target (or the end of their budgets). Reference runs and the first minibatches are paid from it whatever they cost,
    then further minibatches and pilots, as far as they are expected to help. Default: a twentieth."""
    minibatches: Annotated[int | None, Rule(at_least=2)] = None
    """With mode='train': minibatches per descent rate, for each saved state of the reference run and batch size.
    Default: 8, and up to 32 where these leave rates in doubt and the cost allows."""
    pilots: Annotated[int | None, Rule(at_least=0)] = None
    """With mode='train': candidates trained for real to the target, chosen where the ranking is in doubt; predictions
    of the others learn from them. Default: up to 8, as long as the first choice is in doubt and the cost allows; 0:
    none."""
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
    def most_cost_share(self) -> float:
        """Share of the cost of training all that the ranking may take."""
        return DEFAULT_COST_SHARE if self.cost_share is None else self.cost_share

    @property
    def most_reference_steps(self) -> int | None:
        """Most steps of the reference run that the method allows; None: by its cost; 0: there is none."""
        return 0 if self.method == "sde" else self.reference_steps
