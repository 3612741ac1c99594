"""Constants of `raytt.adapters.tune.stopper`: the recorded real runs replayed as trials, one after the other."""

from __future__ import annotations

import json
from collections.abc import Iterator

from benchmarks.accuracy.predict import THRESHOLDS, real_crossings
from raytt.adapters.tune import stopper
from raytt.forecast.prediction import Prediction
from raytt.results.entry import rank_candidates
from raytt.results.ranking import Ranking
from raytt.task.target import Target

from .forecasts import Rows
from .vary import Constant, shown, varied

RATIO = 0.1
"""Of the initial training loss; one of the thresholds of the record."""
SLACK = Constant(home=stopper, name="SLACK", others=(1.0, 1.25, 2.0, 3.0))
LEARNING = Constant(home=stopper, name="LEARN_FROM", others=(1, 2, 5, 1000))


def replayed(task: str, prediction: Prediction, rows: Rows) -> Iterator[list[str]]:
    """A line per constant and value: trials ended though they would have arrived, and steps that ending saves."""
    target = Target(kind="loss_ratio", value=RATIO)
    told = prediction.forecasts(target)
    candidates = list(told)
    entries = rank_candidates(
        candidates,
        [told[c] for c in candidates],
        budgets=[prediction.budgets[c] for c in candidates],
        step_times=prediction.step_times,
        num_samples_full=prediction.num_samples_full,
    )
    ranking = Ranking(task=task, method="path", target=target, entries=entries)
    for constant in (SLACK, LEARNING):
        for value in constant.values:
            with varied(constant, value):
                yield [constant.name, task, shown(constant, value), *replay(ranking, rows)]


def replay(ranking: Ranking, rows: Rows) -> list[str]:
    """Trials, those that would arrive, those of them that are ended before they do, and steps saved in per cent."""
    judge = stopper.SlowTrialStopper(ranking, metric="ratio", threshold=RATIO, slack=stopper.SLACK)
    arriving = missed = 0
    taken = needed = 0.0
    column = THRESHOLDS.index(RATIO)
    for number, row in enumerate(rows):
        real = real_crossings(row)[column]
        arrives = real <= row["steps"][-1]
        arriving += arrives
        end = row["steps"][-1]
        for step, loss in zip(row["steps"], row["train_loss"], strict=True):
            result = {"step": step, "ratio": loss / row["train_loss"][0], "config": json.loads(row["config"])}
            if judge(str(number), result):
                end = step
                missed += bool(arrives and result["ratio"] > RATIO)
                break
        taken += end
        needed += next((s for s in row["steps"] if s >= real), row["steps"][-1])
    return [str(len(rows)), str(arriving), str(missed), f"{100 * (1 - taken / needed):.0f}"]
