"""Candidates of a search space, whoever's it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from raytt.adapters.optuna import search_space as optuna_spaces
from raytt.adapters.tune import search_space as tune_spaces
from raytt.adapters.tune.search_space import Drawn


def draw(space: Any, *, num_candidates: int, seed: int, model_names: Sequence[str] = ()) -> Drawn:
    """Distinct candidates from a search space; a function of the space and the seed alone.

    Args:
        space: A dictionary of Ray Tune's domains or of Optuna's distributions, a function of a trial of Optuna's, or a
            list of configurations, which is used as it is.
        num_candidates: How many are drawn.
        seed: Of the draws.
        model_names: Names that are arguments of the task's model factory, beside hyperparameters.

    Raises:
        InputError: If the space has no candidate, or one of its configurations is not valid.
    """
    if optuna_spaces.is_optuna(space):
        return optuna_spaces.draw(space, num_candidates=num_candidates, seed=seed, model_names=model_names)
    return tune_spaces.draw(space, num_candidates=num_candidates, seed=seed, model_names=model_names)
