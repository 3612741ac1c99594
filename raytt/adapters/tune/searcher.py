"""A ranking handed to Ray Tune: its configurations, the best first, for real trials.

::

    ranking = raytt.rank(task, search_space, …)
    tuner = tune.Tuner(
        train,
        param_space=search_space,
        tune_config=tune.TuneConfig(search_alg=RankedSearcher(ranking, search_space, top=8), num_samples=8),
        run_config=tune.RunConfig(stop=SlowTrialStopper(ranking, metric="loss")),
    )

or, for searchers of Tune that take points: ``HyperOptSearch(points_to_evaluate=points_to_evaluate(ranking, …))``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ray.tune.search import Searcher

from raytt.adapters.tune.search_space import draw
from raytt.errors import InputError
from raytt.results.ranking import Ranking


def points_to_evaluate(ranking: Ranking, search_space: Any = None, *, top: int | None = None) -> list[dict[str, Any]]:
    """The ranking's configurations, the cheapest first, for Tune's searchers.

    Args:
        ranking: Predicted costs.
        search_space: That of the ranking, so that configurations are nested as trials expect them; None gives flat ones
            of what is not at its default.
        top: How many; None gives all.

    Raises:
        InputError: If the search space is not that of the ranking.
    """
    if top is not None and top < 1:
        raise InputError(f"top is {top}.", "Ask for at least 1 configuration.")
    entries = ranking.entries[:top]
    if search_space is None:
        return [entry.candidate.config() for entry in entries]
    # Drawn again, which is exact; what a configuration looked like cannot be told from the flat candidate.
    drawn = draw(
        search_space,
        num_candidates=max(1, len(ranking.entries)),
        seed=ranking.provenance.seed or 0,
        model_names=ranking.model_names,
    )
    configs = dict(zip(drawn.candidates, drawn.configs, strict=True))
    missing = [entry.candidate for entry in entries if entry.candidate not in configs]
    if missing:
        raise InputError(
            f"The search space does not give {len(missing)} of the ranking's configurations, as {missing[0].config()}.",
            "Give the search space that was ranked. (Functions given to sample_from must not draw numbers of their "
            "own; without a search space, flat configurations are given.)",
        )
    return [configs[entry.candidate] for entry in entries]


class RankedSearcher(Searcher):  # type: ignore[misc]
    """A Tune searcher that suggests a ranking's configurations, the cheapest first, and then ends.

    Args:
        ranking: Predicted costs.
        search_space: That of the ranking; see `points_to_evaluate`.
        top: How many; None gives all.
        metric: What trials report, if Tune is to compare them.
        mode: ``"min"`` or ``"max"``.
    """

    def __init__(
        self,
        ranking: Ranking,
        search_space: Any = None,
        *,
        top: int | None = None,
        metric: str | None = None,
        mode: str | None = None,
    ) -> None:
        super().__init__(metric=metric, mode=mode)
        self._metric: str | None = metric
        self._mode: str | None = mode
        self._points = points_to_evaluate(ranking, search_space, top=top)
        self._next = 0

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        """Take over what the Tuner is told; its search space only adds constants to the configurations."""
        self._metric = metric or self._metric
        self._mode = mode or self._mode
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        """The next configuration, or that there is none left."""
        if self._next == len(self._points):
            return str(Searcher.FINISHED)
        self._next += 1
        return self._points[self._next - 1]

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing is learned from trials."""

    def save(self, checkpoint_path: str) -> None:
        """Write what is needed to go on, as JSON."""
        Path(checkpoint_path).write_text(json.dumps({"next": self._next, "points": len(self._points)}))

    def restore(self, checkpoint_path: str) -> None:
        """Go on where another searcher of the same ranking was saved.

        Raises:
            InputError: If it was one of another ranking.
        """
        state = json.loads(Path(checkpoint_path).read_text())
        if state["points"] != len(self._points) or not 0 <= state["next"] <= len(self._points):
            raise InputError(
                f"The saved searcher had {state['points']} configurations, this one has {len(self._points)}.",
                "Restore it with the ranking and the top that it began with.",
            )
        self._next = state["next"]
