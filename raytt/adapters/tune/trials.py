"""Trials that Ray Tune has run, as observations from which a ranking learns.

::

    results = tuner.fit()
    trials = observed_trials(results, step="step", train_loss="loss", val_loss="val_loss")
    ranking = raytt.rank(task, search_space, observed=trials)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from raytt.adapters.tune.search_space import candidate_of
from raytt.errors import InputError
from raytt.forecast.pilots.observed_trial import ObservedTrial
from raytt.task.candidate import Candidate, hyperparameters

if TYPE_CHECKING:
    from ray.tune import ResultGrid


def observed_trials(
    results: ResultGrid,
    *,
    step: str = "step",
    train_loss: str | None = None,
    val_loss: str | None = None,
    train_accuracy: str | None = None,
    val_accuracy: str | None = None,
    averaged: bool = False,
) -> list[ObservedTrial]:
    """What the trials of a Tuner reported, ended early or not; trials without a report are left out.

    Args:
        results: What ``Tuner.fit`` gave, or ``Tuner.restore(…).get_results()``.
        step: Name under which trials report how many optimizer steps they have done.
        train_loss: Name of the loss of minibatches in training mode; None: it is not reported.
        val_loss: Name of the validation loss.
        train_accuracy: Name of the accuracy on training data in eval mode.
        val_accuracy: Name of the validation accuracy.
        averaged: See `ObservedTrial.averaged`.

    Raises:
        InputError: If no curve is named, or trials do not report what is named.
    """
    names = {
        curve: name
        for curve, name in (
            ("train_loss", train_loss),
            ("val_loss", val_loss),
            ("train_accuracy", train_accuracy),
            ("val_accuracy", val_accuracy),
        )
        if name is not None
    }
    if not names:
        raise InputError(
            "No curve of the trials is named.",
            "Say what they report, such as train_loss='loss' or val_loss='val_loss'.",
        )
    found = []
    for number in range(len(results)):
        result = results[number]
        frame = result.metrics_dataframe
        if frame is None or frame.empty:
            continue
        for name in (step, *names.values()):
            if name not in frame:
                raise InputError(
                    f"Trial {number} reports no {name!r}, but {', '.join(sorted(map(str, frame.columns)))}.",
                    "Report it with tune.report, or name another metric or step.",
                )
        # A trial that was restored may have reported a step twice; the later report holds.
        frame = frame.dropna(subset=[step]).drop_duplicates(subset=[step], keep="last").sort_values(step)
        found.append(
            ObservedTrial(
                config=dict(result.config or {}),
                steps=frame[step].to_numpy(dtype=np.float64).tolist(),
                curves={curve: frame[name].to_numpy(dtype=np.float64).tolist() for curve, name in names.items()},
                averaged=averaged,
            )
        )
    if len(results) and not found:
        raise InputError(
            f"None of the {len(results)} trials has any reports on disk.",
            "Tune's own loggers write them: leave TUNE_DISABLE_AUTO_CALLBACK_LOGGERS out, or give raytt.ObservedTrial.",
        )
    return found


def candidate_of_trial(config: Mapping[str, Any], model_names: Sequence[str]) -> Candidate | None:
    """The candidate of a trial's configuration, whatever else the trial was given; None if there is none in it."""
    known = {*hyperparameters(), *model_names, "model_arguments"}

    def is_ours(key: str, value: Any) -> bool:
        return key in known or (isinstance(value, Mapping) and set(value) <= known)

    try:
        return candidate_of({key: value for key, value in config.items() if is_ours(key, value)}, model_names)
    except InputError:
        return None
