"""Optuna's own TPE sampler and pruners, on a table of candidates.

TPE suggests a point of the space of hyperparameters; the candidate not yet tried that is nearest to it is trained, and
what Optuna is told is that candidate's own hyperparameters with its own curve. Distances are Euclidean over ranks of
numbers and one-hot columns, each group of one-hot columns offered to TPE as one choice.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..contest import Contest
from ..purse import Purse
from .simple import last_seen

Floats = NDArray[np.float64]


def _groups(contest: Contest) -> dict[str, list[int]]:
    """Columns by hyperparameter: ``cat:name:value`` of the same name belong together."""
    found: dict[str, list[int]] = defaultdict(list)
    for column, name in enumerate(contest.columns):
        found[name.rsplit(":", 1)[0] if name.startswith("cat:") else name].append(column)
    return {k: c for k, c in found.items() if len(np.unique(contest.features[:, c], axis=0)) > 1}


class _Space:
    """Optuna's view of the candidates."""

    def __init__(self, contest: Contest) -> None:
        from optuna.distributions import CategoricalDistribution, FloatDistribution

        self.distributions: dict[str, Any] = {}
        self.params: list[dict[str, Any]] = [{} for _ in contest.metric]
        self._coordinates: dict[str, Callable[[Any], Floats]] = {}
        parts = []
        for name, columns in _groups(contest).items():
            values = contest.features[:, columns]
            if len(columns) > 1:
                kinds = values.argmax(axis=1)
                choices = [int(k) for k in np.unique(kinds)]
                self.distributions[name] = CategoricalDistribution(choices)
                eye = np.eye(len(columns)) / np.sqrt(2.0)
                self._coordinates[name] = eye.__getitem__
                own: list[Any] = [int(k) for k in kinds]
            else:
                # Ranks among the values that occur: what is on a log scale need not be said.
                levels, ranks = np.unique(values[:, 0], return_inverse=True)
                self.distributions[name] = FloatDistribution(0.0, 1.0)
                own = [float(r) / (len(levels) - 1) for r in ranks]
                self._coordinates[name] = np.atleast_1d
            for run, value in enumerate(own):
                self.params[run][name] = value
            parts.append(np.array([self._coordinates[name](value) for value in own]))
        self._points = np.concatenate(parts, axis=1)

    def nearest(self, params: dict[str, Any], free: NDArray[np.bool_]) -> int:
        """The free candidate nearest to a suggestion."""
        point = np.concatenate([self._coordinates[name](params[name]) for name in self.distributions])
        distances = np.where(free, np.square(self._points - point).sum(axis=1), np.inf)
        return int(np.argmin(distances))


def _tpe(contest: Contest, purse: Purse, seed: int, pruner: Any) -> None:
    import optuna
    from optuna.trial import TrialState

    purse.ranking = lambda: last_seen(purse)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sampler = optuna.samplers.TPESampler(seed=seed)
        study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)
        space, free = _Space(contest), np.ones(purse.count, dtype=bool)
        while free.any():
            suggestion = study.ask(space.distributions)
            run = space.nearest(suggestion.params, free)
            free[run] = False
            # The suggestion is not on the table: it is given up, and the candidate nearest to it takes its place.
            study.tell(suggestion, state=TrialState.FAIL)
            study.enqueue_trial(space.params[run])
            trial = study.ask(space.distributions)
            value, state = None, TrialState.COMPLETE
            while not purse.ended[run]:
                value = purse.train(run)
                assert value is not None
                trial.report(value, len(purse.seen[run]))
                if trial.should_prune():
                    state = TrialState.PRUNED
                    break
            study.tell(trial, value if state == TrialState.COMPLETE else None, state=state)
    purse.finish()


def tpe_median(contest: Contest, purse: Purse, seed: int) -> None:
    """TPE with the median pruner, as both come."""
    import optuna

    _tpe(contest, purse, seed, optuna.pruners.MedianPruner())


def tpe_hyperband(contest: Contest, purse: Purse, seed: int) -> None:
    """TPE with the Hyperband pruner, as both come."""
    import optuna

    _tpe(contest, purse, seed, optuna.pruners.HyperbandPruner(max_resource=contest.longest))
