"""Optuna, through Ray Tune, that begins with what a ranking predicts. Needs the extra ``optuna``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from ray.tune.search.optuna import OptunaSearch
from ray.tune.search.sample import Domain, Function

from raytt.adapters.tune.searcher import points_to_evaluate
from raytt.errors import InputError
from raytt.results.entry import Entry
from raytt.results.ranking import Ranking

Predicted = Literal["steps", "seconds", "usd"]


class PredictedOptunaSearch(OptunaSearch):  # type: ignore[misc]
    """``OptunaSearch`` that tries the ranking's best first, and may take the other predictions for results.

    Give the search space to the Tuner as ``param_space``. Spaces that Optuna knows: random domains, nested or not, and
    constants; no grids, functions or dictionaries to choose from (`RankedSearcher` takes these).

    Args:
        ranking: Predicted costs.
        search_space: That of the ranking, and of the Tuner.
        metric: What trials report.
        mode: Whether ``"min"`` or ``"max"`` of it is better.
        top: How many of the ranking's best are tried for real before Optuna chooses.
        metric_is: Which predicted number the metric is: "steps", "seconds" or "usd" to the target. Optuna then learns
            from the predictions of all other candidates as if they had been tried; of those that are not predicted to
            reach the target, from what their whole budget takes. None: predictions only decide what is tried first.
        settings: Of ``OptunaSearch``: sampler, seed, storage, study_name.

    Raises:
        InputError: If the search space is not that of the ranking, or none that Optuna knows.
    """

    def __init__(
        self,
        ranking: Ranking,
        search_space: Mapping[str, Any],
        *,
        metric: str,
        mode: Literal["min", "max"] = "min",
        top: int = 3,
        metric_is: Predicted | None = None,
        **settings: Any,
    ) -> None:
        _check(search_space, "")
        points = points_to_evaluate(ranking, search_space)
        first, rest = points[:top], points[top:]
        values = [_value(entry, metric_is, ranking) for entry in ranking.entries[top:]] if metric_is else []
        self._predictions = list(zip(rest, values, strict=True)) if metric_is else []
        self._domains = _paths(search_space)
        super().__init__(
            metric=metric, mode=mode, points_to_evaluate=[self._parameters(point) for point in first], **settings
        )

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        """Take the search space over, then learn from the predictions."""
        if not super().set_search_properties(metric, mode, config, **spec):
            return False
        for point, value in self._predictions:
            self.add_evaluated_point(self._parameters(point), value)
        return True

    def _parameters(self, point: Mapping[str, Any]) -> dict[str, Any]:
        """A configuration as Optuna names it: paths to what is drawn, without constants."""
        found = {}
        for path in self._domains:
            value: Any = point
            for key in path:
                value = value[key]
            found["/".join(path)] = value
        return found


def _value(entry: Entry, kind: Predicted, ranking: Ranking) -> float:
    if kind == "steps":
        return entry.forecast.steps if entry.forecast.steps is not None else float(entry.budget)
    seconds = entry.budget_seconds if entry.seconds is None else entry.seconds
    if kind == "seconds":
        return seconds
    price = ranking.provenance.usd_per_hour
    if price is None:
        raise InputError("The ranking knows no price.", "Rank with usd_per_hour, or give another metric_is.")
    return seconds / 3600.0 * price


def _check(space: Mapping[str, Any], under: str) -> None:
    """Refuse what Optuna would fail on, or silently take for something else."""
    for key, value in space.items():
        path = f"{under}{key}"
        options = getattr(value, "categories", ())
        if isinstance(value, Function) or any(isinstance(option, Mapping) for option in options):
            raise InputError(f"Optuna cannot draw {path!r} of the search space.", "Use RankedSearcher for this space.")
        if isinstance(value, Mapping):
            if set(value) == {"grid_search"}:
                raise InputError(f"{path!r} is a grid, which Optuna does not know.", "Write tune.choice(…) instead.")
            _check(value, f"{path}/")


def _paths(space: Mapping[str, Any], under: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for key, value in space.items():
        if isinstance(value, Mapping):
            found += _paths(value, (*under, key))
        elif isinstance(value, Domain):
            found.append((*under, key))
    return found
