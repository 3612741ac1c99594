"""How far off a ranking is: a few of its candidates are really trained and set beside what was predicted of them."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from raytt.cluster.plumbing import ray_dataset as ray_data
from raytt.cluster.plumbing import shipping
from raytt.cluster.plumbing.dispatch import await_cpu
from raytt.cluster.plumbing.progress import Reporter
from raytt.cluster.plumbing.session import WorkerResources, connect
from raytt.cluster.stages.train_candidates import Trial, train_really
from raytt.errors import InputError
from raytt.report import display  # noqa: F401  (results show themselves)
from raytt.results.entry import Entry
from raytt.results.finished_run import load_ranking
from raytt.results.ranking import Ranking
from raytt.results.validation import Check, Validation
from raytt.store.fingerprint import task_facts
from raytt.store.run import Run
from raytt.task.task import Task

PATIENCE = 3.0
"""A run is given up after this many times its predicted steps (and at the end of its budget)."""
SEED = 104729
"""Of the first validation run's minibatches; no prediction uses it."""


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
