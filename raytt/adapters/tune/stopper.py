"""Ending real trials of Ray Tune once they are clearly slower than a ranking predicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from ray.tune import Stopper

from raytt.adapters.tune.trials import candidate_of_trial
from raytt.errors import InputError
from raytt.results.entry import Entry
from raytt.results.ranking import Ranking

SLACK = 1.5
"""Times the upper end of its interval that a trial may take. A convention, in favour of the trial: the recorded runs of
diabetes, replayed as trials to 0.1 of the initial loss, had none ended wrongly, and no steps saved, with any value from
1 to 3 (``python -m benchmarks.constants --sections stopper``, 2026-11-29)."""
LEARN_FROM = 3
"""Trials that must have reached the target before real speeds correct predicted ones. Made no difference there either,
from 1 to never."""


class SlowTrialStopper(Stopper):  # type: ignore[misc]
    """Ends a trial that reaches the target, or that has taken clearly more steps than predicted without reaching it.

    The limit of a trial is ``slack`` times the upper end of its predicted interval; of one that is not predicted to
    reach the target, its budget. Once `LEARN_FROM` trials have reached it, limits are multiplied by the largest ratio
    of real to predicted steps among these: where training is faster than predicted throughout (the documentation has
    measurements, page Accuracy), slow trials end the earlier for it. Trials whose configuration was not ranked are left
    alone.

    Args:
        ranking: Predicted steps.
        metric: Name of what trials report, of the kind that the ranking's target is about.
        mode: Whether ``"min"`` or ``"max"`` is better; None follows from the target.
        threshold: Where the metric counts as having reached the target; None follows from the target.
        step: Name under which trials report how many optimizer steps they have done.
        slack: How much slower than predicted is clearly slower.

    Raises:
        InputError: If a threshold is needed and not given, or the slack is below 1.
    """

    def __init__(
        self,
        ranking: Ranking,
        *,
        metric: str,
        mode: Literal["min", "max"] | None = None,
        threshold: float | None = None,
        step: str = "step",
        slack: float = SLACK,
    ) -> None:
        if not slack >= 1.0:
            raise InputError(f"slack is {slack!r}.", "Give a number of at least 1.")
        self._entries = {entry.candidate: entry for entry in ranking.entries}
        self._model_names = ranking.model_names
        self._metric = metric
        self._maximize = (mode or ("max" if ranking.target.on_accuracy else "min")) == "max"
        self._threshold = _threshold(ranking) if threshold is None else threshold
        self._step = step
        self._slack = slack
        self._ratios: list[float] = []

    def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        """Whether the trial ends here."""
        for name in (self._metric, self._step):
            if name not in result:
                raise InputError(
                    f"Trial {trial_id} reports no {name!r}, but {', '.join(sorted(map(str, result)))}.",
                    "Report it with tune.report, or name another metric or step.",
                )
        entry = self._entries.get(candidate_of_trial(result.get("config", {}), self._model_names))  # type: ignore[arg-type]
        value, step = float(result[self._metric]), float(result[self._step])
        if value >= self._threshold if self._maximize else value <= self._threshold:
            if entry is not None and entry.forecast.steps:
                self._ratios.append(step / entry.forecast.steps)
            return True
        return entry is not None and step >= self.limit(entry)

    def limit(self, entry: Entry) -> float:
        """Steps at which a trial of this candidate is clearly slower than predicted."""
        forecast = entry.forecast
        if forecast.steps is None:
            return float(entry.budget)
        correction = max(self._ratios) if len(self._ratios) >= LEARN_FROM else 1.0
        return self._slack * correction * (forecast.high or forecast.steps)

    def stop_all(self) -> bool:
        """Trials end one by one."""
        return False


def _threshold(ranking: Ranking) -> float:
    target, start = ranking.target, ranking.provenance.start_of(ranking.target)
    if target.settles or (target.relative and start is None):
        raise InputError(
            f"The ranking does not say at which value of a metric {target} is reached.", "Give a threshold."
        )
    return float(target.level(start or 0.0))
