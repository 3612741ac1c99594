"""What configurations are ranked by at the end of their own budgets, instead of by the cost of reaching a target."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from raytt.errors import InputError
from raytt.task.registry import Registry
from raytt.task.target import CurveName


@dataclass(frozen=True, kw_only=True)
class RankObjective:
    """A measure of quality, read off a curve that is predicted."""

    name: str
    """As users write it."""
    curve: CurveName
    """The curve."""
    more_is_better: bool
    """Whether the highest value is the best."""
    words: str
    """Its name in a sentence."""

    @property
    def sign(self) -> float:
        """+1 where less is better, −1 where more is: times a value it is a cost."""
        return -1.0 if self.more_is_better else 1.0

    @property
    def needs_validation(self) -> bool:
        """Whether the task must have validation data."""
        return self.curve.startswith("val_")

    def write(self, value: float) -> str:
        """A value for a table: accuracies as percentages."""
        return f"{value:.1%}" if self.more_is_better else f"{value:.3g}"


OBJECTIVES: Registry[RankObjective] = Registry("objective")
"""All objectives by name, in the order in which one is taken where none is named."""
for _objective in (
    RankObjective(name="val_accuracy", curve="val_accuracy", more_is_better=True, words="validation accuracy"),
    RankObjective(name="val_loss", curve="val_loss", more_is_better=False, words="validation loss"),
    RankObjective(name="loss", curve="train_loss", more_is_better=False, words="training loss"),
):
    OBJECTIVES.register(_objective.name, _objective)


def check_objective(name: str, *, mode: str, has_validation: bool, counts_correct: bool) -> RankObjective:
    """The objective of that name, for a task of that kind.

    Args:
        name: In `OBJECTIVES`.
        mode: Of the task.
        has_validation: Whether it has validation data.
        counts_correct: Whether its loss has a notion of a correct answer.

    Raises:
        InputError: If there is no such objective, or the task cannot be ranked by it.
    """
    objective = OBJECTIVES.get(name)
    if mode != "train":
        raise InputError(
            f"Objective {name!r} with mode={mode!r}: simulations there end at the target, not with the budget.",
            "Use mode='train' in the task, or rank by a target.",
        )
    if objective.needs_validation and not has_validation:
        raise InputError(
            f"Objective {name!r} needs validation data.", "Give Task a `validation`, or take the objective 'loss'."
        )
    if objective.more_is_better and not counts_correct:
        raise InputError(
            f"Objective {name!r} needs a loss with a notion of a correct answer.",
            "Take the objective 'val_loss' or 'loss', or use loss='cross_entropy'.",
        )
    return objective


def usual_objective(known: Iterable[str]) -> str | None:
    """The first of `OBJECTIVES` among names; None where there is none."""
    there = set(known)
    return next((name for name in OBJECTIVES.names() if name in there), None)
