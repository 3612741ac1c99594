"""Trials that the user has run already, as pilots that cost nothing: matched to candidates by their configuration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from raytt.adapters.tune.trials import candidate_of_trial
from raytt.errors import InputError
from raytt.forecast.pilots.observed_run import ObservedRun, observed_run
from raytt.forecast.pilots.observed_trial import ObservedTrial
from raytt.forecast.training_forecast import start_of
from raytt.forecast.training_prediction import TrainingPrediction
from raytt.store.fingerprint import fingerprint
from raytt.task.candidate import Candidate
from raytt.task.target import Target
from raytt.task.task import Task
from raytt.workflows.pilots import lags


@dataclass(frozen=True, kw_only=True)
class Observed:
    """A trial of one of the candidates."""

    candidate: Candidate
    """Which one."""
    trial: ObservedTrial
    """What it showed."""


def check_observed(task: Task, trials: Sequence[ObservedTrial], *, objective: str | None) -> None:
    """Raise `InputError` where trials cannot teach a ranking anything."""
    if trials and task.mode != "train":
        raise InputError(
            f"Observed trials with mode={task.mode!r}, whose simulation does not learn from them.",
            "Use mode='train' in the task, or leave observed out.",
        )
    if trials and objective is not None:
        raise InputError(
            f"Observed trials with objective={objective!r}: they correct the pace to a target, not final qualities.",
            "Leave objective out to rank by cost to the target, or leave observed out.",
        )


def matched(
    trials: Sequence[ObservedTrial], candidates: Sequence[Candidate], model_names: Sequence[str]
) -> tuple[list[Observed], tuple[str, ...]]:
    """Trials of candidates, the longest of each, and what the user must know of the others.

    Raises:
        InputError: If there are trials and none is of a candidate.
    """
    found: dict[Candidate, ObservedTrial] = {}
    strangers = 0
    for trial in trials:
        config = trial.config
        candidate = config if isinstance(config, Candidate) else candidate_of_trial(config, model_names)
        if candidate is None or candidate not in candidates:
            strangers += 1
        elif candidate not in found or _length(trial) > _length(found[candidate]):
            found[candidate] = trial
    if trials and not found:
        shown = trials[0].config
        raise InputError(
            f"None of the {len(trials)} observed trials is of a configuration that is ranked; the first is "
            f"{shown.config() if isinstance(shown, Candidate) else dict(shown)!r}.",
            "Rank their configurations, as a list or from the search space that they came from. All hyperparameters "
            "count, batch size, schedule and budget among them.",
        )
    repeated = len(trials) - strangers - len(found)
    notes = []
    if strangers:
        notes.append(f"Not used of {len(trials)} observed trials: {strangers} of configurations that are not ranked.")
    if repeated:
        notes.append(
            f"Not used of {len(trials)} observed trials: {repeated} of the same configuration as a longer one."
        )
    return [Observed(candidate=c, trial=trial) for c, trial in found.items()], tuple(notes)


def with_observed(
    found: TrainingPrediction, observed: Sequence[Observed], target: Target, notes: Sequence[str] = ()
) -> tuple[TrainingPrediction, list[ObservedRun]]:
    """The prediction with what must be said of the trials, and their runs; neither changes without trials.

    Those whose running statistics, not learning, keep them from a target in eval mode are no pilots, see
    `raytt.workflows.pilots.lags`.

    Raises:
        InputError: If none of the trials reported the curve that the target is on.
    """
    if not observed:
        return found, []
    forecasts = found.forecasts(target)
    runs, late = [], 0
    for one in sorted(observed, key=lambda one: one.candidate.sort_key()):
        reference = found.family(one.candidate).reference
        run = observed_run(
            one.trial,
            one.candidate,
            budget=found.budgets[one.candidate],
            target=target,
            initial_loss=reference.initial_loss,
            start=start_of(reference, target),
        )
        if run is not None and lags(one.candidate, forecasts[one.candidate], found, target):
            late += 1
        elif run is not None:
            runs.append(run)
    if not runs and not late:
        known = sorted({name for one in observed for name in one.trial.curves})
        raise InputError(
            f"No observed trial reported {target.curve}, which the target {target} is on, but {', '.join(known)}.",
            f"Give its curve, or a target on one of: {', '.join(known)}.",
        )
    silent = len(observed) - len(runs) - late
    told = list(notes)
    if silent:
        told.append(f"Not used of {len(observed)} observed trials: {silent} without reports of {target.curve}.")
    if late:
        told.append(
            f"Not used of {len(observed)} observed trials: {late} whose running batch-norm statistics lag behind, "
            "which says little of how others learn."
        )
    seen = [
        [run.candidate.sort_key(), run.losses.tolist(), run.reports.tolist(), run.met, run.diverged] for run in runs
    ]
    return found.told(told, made_from=fingerprint([found.made_from, "observed", seen])), runs


def _length(trial: ObservedTrial) -> float:
    return max(trial.steps, default=0.0)
