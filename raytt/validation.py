"""How far off a ranking is: a few of its candidates are really trained and set beside what was predicted of them."""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from raytt.distributed import ray_data, shipping
from raytt.distributed.dispatch import await_cpu
from raytt.distributed.progress import Reporter
from raytt.distributed.session import WorkerResources, connect
from raytt.distributed.validate import Outcome, Trial, train_really
from raytt.errors import InputError
from raytt.fingerprint import task_facts
from raytt.finished import load_ranking
from raytt.ranking import Entry, Ranking
from raytt.store import Run
from raytt.task import Task

if TYPE_CHECKING:
    from rich.console import RenderableType

PATIENCE = 3.0
"""A run is given up after this many times its predicted steps (and at the end of its budget)."""
SEED = 104729
"""Of the first validation run's minibatches; no prediction uses it."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One candidate, predicted and real."""

    entry: Entry
    """As it was ranked."""
    seed: int
    """Of the real run's minibatches."""
    real: Outcome
    """What happened."""
    seconds_per_step: float | None = None
    """Time of a step on the worker that the ranking timed, seconds. The ranking itself may be priced for another
    machine, whose times say nothing of this one."""

    @property
    def predicted_seconds(self) -> float | None:
        """Predicted time to the target on such a worker, seconds; None where it is not reached, or was not timed."""
        steps = self.entry.forecast.steps
        return None if steps is None or self.seconds_per_step is None else steps * self.seconds_per_step

    @property
    def real_seconds(self) -> float | None:
        """Real time to the target, seconds; None where it was not reached."""
        return None if self.real.steps is None else self.real.steps * self.real.seconds_per_step

    @property
    def log_error(self) -> float | None:
        """ln(predicted / real steps); None unless both reach the target."""
        predicted = self.entry.forecast.steps
        if predicted is None or self.real.steps is None:
            return None
        return math.log(max(predicted, 1.0) / max(self.real.steps, 1.0))

    @property
    def happened(self) -> str:
        """What really happened, in a word or two."""
        if self.real.steps is not None:
            return "reached"
        return "diverged" if self.real.diverged else "not reached"

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, strings and None."""
        forecast = self.entry.forecast
        return {
            "rank": self.entry.rank,
            "config": self.entry.candidate.config(),
            "seed": self.seed,
            "status": self.happened,
            "predicted_status": forecast.status.value,
            "predicted_steps": forecast.steps,
            "predicted_low": forecast.low,
            "predicted_high": forecast.high,
            "real_steps": self.real.steps,
            "real_steps_done": self.real.steps_done,
            "diverged": self.real.diverged,
            "predicted_seconds": self.predicted_seconds,
            "real_seconds": self.real_seconds,
            "predicted_accuracy": forecast.accuracy,
            "real_accuracy": self.real.accuracy,
            "predicted_val_accuracy": forecast.val_accuracy,
            "real_val_accuracy": self.real.val_accuracy,
        }


@dataclass(frozen=True, kw_only=True)
class Validation:
    """Some candidates of a ranking, really trained."""

    target: str
    """When training was done."""
    checks: tuple[Check, ...]
    """By rank."""

    @property
    def median_error(self) -> float | None:
        """Median |ln(predicted / real)| over those that both reach the target."""
        errors = [abs(c.log_error) for c in self.checks if c.log_error is not None]
        return float(np.median(errors)) if errors else None

    @property
    def bias(self) -> float | None:
        """Mean ln(predicted / real): above 0 where predictions are too long."""
        errors = [c.log_error for c in self.checks if c.log_error is not None]
        return float(np.mean(errors)) if errors else None

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, strings and None."""
        return {
            "target": self.target,
            "median_error": self.median_error,
            "bias": self.bias,
            "checks": [check.to_json() for check in self.checks],
        }

    def __rich__(self) -> RenderableType:
        from raytt.report.validation import render

        return render(self)

    def __str__(self) -> str:
        from rich.console import Console

        out = io.StringIO()
        Console(file=out, width=120, color_system=None, force_terminal=False).print(self)
        return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def validate(
    task: Task,
    run_directory: str | Path,
    *,
    top: int = 3,
    random: int = 5,
    seed: int = 0,
    num_workers: int | None = None,
    use_gpu: bool = False,
    resources_per_worker: Mapping[str, float] | None = None,
    address: str | None = None,
    progress: bool = True,
) -> Validation:
    """Really train the best candidates of a finished ranking and some others, and set both side by side.

    Each is trained once, to the target, the end of its budget, or `PATIENCE` times its predicted steps. Finished runs
    are kept in the run directory, so that an interrupted call goes on where it was. The result is also written there.

    Args:
        task: The task that was ranked.
        run_directory: Of the ranking.
        top: Candidates from the top.
        random: Further ones drawn from the rest.
        seed: Of that choice and of the minibatches.
        num_workers: Trainings at a time; None: as many as fit.
        use_gpu: Whether each gets a GPU.
        resources_per_worker: Of one training; by default ``{"CPU": 1}``, with ``use_gpu`` a GPU.
        address: Ray cluster, as for `raytt.rank`.
        progress: Whether progress is shown on standard error.

    Raises:
        InputError: If nothing is to be trained, or the task is not the one that was ranked.
        StoreError: If there is no finished ranking in the directory.
    """
    if top < 0 or random < 0 or top + random == 0:
        raise InputError(f"top={top} and random={random}.", "Train at least one candidate.")
    ranking = load_ranking(run_directory)
    base, _, name = str(run_directory).rstrip("/").rpartition("/")
    run = Run.open(base or ".", name, task_name=task.name)
    if ranking.task != task.name:
        raise InputError(
            f"The run is of task {ranking.task!r}, the task given is {task.name!r}.", "Give the task that was ranked."
        )
    entries = choose(ranking, top=top, random=random, seed=seed)
    worker = WorkerResources.parse(resources_per_worker, use_gpu=use_gpu)
    with ExitStack() as stack:
        stack.enter_context(run.locked())
        reporter = Reporter(sys.stderr if progress else None, earlier=run.seconds, on_end=run.spend)
        with reporter.phase("start", "connecting to Ray"):
            session = stack.enter_context(connect(address, shared_storage=not run.storage.is_local))
            session.check(worker, num_workers or 1)
            await_cpu()
            stack.enter_context(shipping.by_value(task))
            train = ray_data.open_source(task.data, task)
            num_full = ray_data.count(train)
            task_ref = shipping.put(task)
        trials = [
            Trial(
                candidate=entry.candidate,
                seed=SEED + seed,
                steps=_most_steps(entry),
                budget=entry.budget,
            )
            for entry in entries
        ]
        with reporter.phase("validate", "training for real") as phase:
            outcomes = train_really(
                task_ref,
                trials,
                ranking.target,
                num_samples=num_full,
                facts={**task_facts(task), **run.inputs.get("probe", {})},
                resources=worker,
                num_workers=num_workers or session.workers_that_fit(worker),
                run=run,
                phase=phase,
            )
        timed = ranking.timing.timed
        checks = tuple(
            Check(
                entry=entry,
                seed=trial.seed,
                real=outcome,
                seconds_per_step=timed[size].seconds if (size := entry.candidate.batch_size) in timed else None,
            )
            for entry, trial, outcome in zip(entries, trials, outcomes, strict=True)
        )
        found = Validation(target=str(ranking.target), checks=checks)
        run.write_json("validation.json", found.to_json(), made_from=run.files["ranking.json"].made_from)
        return found


def choose(ranking: Ranking, *, top: int, random: int, seed: int) -> list[Entry]:
    """The first ``top`` entries and ``random`` of the others, drawn without replacement, by rank."""
    rest = list(ranking.entries[top:])
    drawn = np.random.default_rng(seed).permutation(len(rest))[:random]
    return [*ranking.entries[:top], *sorted((rest[i] for i in drawn), key=lambda entry: entry.rank)]


def _most_steps(entry: Entry) -> int:
    predicted = entry.forecast.steps
    return entry.budget if predicted is None else min(entry.budget, max(20, math.ceil(PATIENCE * predicted)))
