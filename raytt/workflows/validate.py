"""How far off a ranking is: a few of its candidates are really trained and set beside what was predicted of them."""

from __future__ import annotations

import math
from contextlib import ExitStack
from pathlib import Path
from typing import Never

import numpy as np

from raytt.cluster.plumbing import ray_dataset as ray_data
from raytt.cluster.plumbing import shipping
from raytt.cluster.plumbing.dispatch import await_cpu
from raytt.cluster.plumbing.progress import Reporter
from raytt.cluster.plumbing.session import WorkerResources, connect
from raytt.cluster.plumbing.workers import Limits
from raytt.cluster.stages.train_candidates import Trial, train_really
from raytt.errors import InputError
from raytt.pricing.step_key import step_key
from raytt.report import display  # noqa: F401  (results show themselves)
from raytt.results.entry import Entry
from raytt.results.finished_run import load_ranking
from raytt.results.ranking import Ranking
from raytt.results.validation import Check, Outcome, Validation
from raytt.settings.cluster import ClusterSettings
from raytt.settings.declaration import refuse_misplaced
from raytt.settings.validation import ValidationSettings
from raytt.store.fingerprint import task_facts
from raytt.store.run import Run
from raytt.task.task import Task
from raytt.workflows.workspace import reporter_of

PATIENCE = 3.0
"""A run is given up after this many times its predicted steps (and at the end of its budget)."""
SEED = 104729
"""Of the first validation run's minibatches; no prediction uses it."""


def validate(
    task: Task,
    run_directory: str | Path,
    *,
    top: int = ValidationSettings.top,
    random: int = ValidationSettings.random,
    seed: int = ValidationSettings.seed,
    cluster: ClusterSettings | None = None,
    progress: bool = True,
    **misplaced: Never,
) -> Validation:
    """Really train the best candidates of a finished ranking and some others, and set both side by side.

    Each is trained once, to the target, the end of its budget, or `PATIENCE` times its predicted steps; of a ranking by
    an objective to the end of its budget, so that its final quality can be compared, too. Finished runs are kept in the
    run directory, so that an interrupted call goes on where it was. The result is also written there.

    Args:
        task: The task that was ranked.
        run_directory: Of the ranking.
        top: Candidates from the top.
        random: Further ones drawn from the rest.
        seed: Of that choice and of the minibatches.
        cluster: Address and workers, as in ``ClusterSettings(num_workers=4, use_gpu=True)``; each worker trains one
            candidate at a time.
        progress: Whether progress is shown on standard error.
        misplaced: Always empty: a field of the settings that is given here is refused, with where it belongs.

    Raises:
        InputError: If nothing is to be trained, the task is not the one that was ranked, or its data is a
            ``ray.data.Dataset`` that does not fit into memory (`raytt.cluster.plumbing.ray_dataset.MOST_BYTES`).
        ResourceError: If the cluster does not have what is asked for.
        StoreError: If there is no finished ranking in the directory.
    """
    refuse_misplaced("validate", misplaced, cluster=ClusterSettings)
    choice = ValidationSettings(top=top, random=random, seed=seed)
    ranking, run = _open(run_directory, task)
    entries = choose(ranking, top=choice.top, random=choice.random, seed=choice.seed)
    trials = [
        Trial(
            candidate=entry.candidate,
            seed=SEED + seed,
            steps=_most_steps(entry),
            budget=entry.budget,
            # The first minibatches of a run are few: what their share is, the ranking knows better.
            initial_loss=ranking.provenance.initial_losses.get(entry.candidate.family, ranking.provenance.initial_loss)
            if task.mode == "train"
            else None,
            objective=ranking.objective,
            stopping=None if ranking.objective is None else ranking.early_stopping,
        )
        for entry in entries
    ]
    with run.locked():
        outcomes = _train(
            task, ranking, trials, cluster or ClusterSettings(), run, reporter=reporter_of(run, progress=progress)
        )
        found = _compare(ranking, entries, trials, outcomes)
        run.write_json("validation.json", found.to_json(), made_from=run.files["ranking.json"].made_from)
        return found


def _open(run_directory: str | Path, task: Task) -> tuple[Ranking, Run]:
    """The finished ranking and its directory, which must be those of the task."""
    ranking = load_ranking(run_directory)
    base, _, name = str(run_directory).rstrip("/").rpartition("/")
    run = Run.open(base or ".", name, task_name=task.name)
    if ranking.task != task.name:
        raise InputError(
            f"The run is of task {ranking.task!r}, the task given is {task.name!r}.", "Give the task that was ranked."
        )
    return ranking, run


def _train(
    task: Task, ranking: Ranking, trials: list[Trial], cluster: ClusterSettings, run: Run, *, reporter: Reporter
) -> list[Outcome]:
    """Train on the cluster what is not in the run directory yet."""
    worker = WorkerResources.of(cluster)
    with ExitStack() as stack:
        with reporter.phase("start", "connecting to Ray"):
            session = stack.enter_context(connect(cluster.address, shared_storage=not run.storage.is_local))
            if cluster.workers_from_the_start is not None:
                session.check(worker, cluster.workers_from_the_start)
            await_cpu(Limits.of(cluster).placement_seconds)
            stack.enter_context(shipping.by_value(task))
            shipped, num_full, notes = ray_data.with_all_rows(task)
            task_ref = shipping.put(shipped)
        for note in notes:
            reporter.say(note)
        with reporter.phase("validate", "training for real") as phase:
            return train_really(
                task_ref,
                trials,
                ranking.target,
                num_samples=num_full,
                facts={**task_facts(task), **run.inputs.get("probe", {})},
                resources=worker,
                num_workers=cluster.num_workers or max(1, session.workers_that_fit(worker)),
                run=run,
                phase=phase,
            )


def _compare(ranking: Ranking, entries: list[Entry], trials: list[Trial], outcomes: list[Outcome]) -> Validation:
    """Each outcome beside its forecast."""
    timed = ranking.timing.timed
    checks = tuple(
        Check(
            entry=entry,
            seed=trial.seed,
            real=outcome,
            seconds_per_step=None
            if (time := timed.get(step_key(entry.candidate))) is None
            else time.repeated(entry.candidate.accumulation_steps).seconds,
        )
        for entry, trial, outcome in zip(entries, trials, outcomes, strict=True)
    )
    return Validation(target=str(ranking.target), checks=checks, objective=ranking.objective)


def choose(ranking: Ranking, *, top: int, random: int, seed: int) -> list[Entry]:
    """The first ``top`` entries and ``random`` of the others, drawn without replacement, by rank."""
    rest = list(ranking.entries[top:])
    drawn = np.random.default_rng(seed).permutation(len(rest))[:random]
    return [*ranking.entries[:top], *sorted((rest[i] for i in drawn), key=lambda entry: entry.rank)]


def _most_steps(entry: Entry) -> int:
    predicted = entry.forecast.steps
    return entry.budget if predicted is None else min(entry.budget, max(20, math.ceil(PATIENCE * predicted)))
