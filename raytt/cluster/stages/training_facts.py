"""What a task is in training mode, found out on a worker and held against the run directory."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import ray

from raytt.cluster.plumbing.dispatch import fetch
from raytt.cluster.plumbing.process import settle
from raytt.rates.randomness_check import TrainingFacts, training_facts
from raytt.store.facts import Fact
from raytt.store.fingerprint import task_facts, versions
from raytt.store.run import Run
from raytt.task.task import Task


def _describe(task: Task) -> TrainingFacts:
    settle(threads=1, gpus=0)
    found = training_facts(task)
    return replace(found, architecture=hashlib.sha256(found.architecture.encode()).hexdigest()[:32])


_DESCRIBE: Any = ray.remote(num_cpus=1, max_retries=3)(_describe)


def describe_training(task: Task, task_ref: Any, *, seed: int, run: Run) -> TrainingFacts:
    """Facts of data and network in training mode.

    Args:
        task: What would be trained.
        task_ref: The same in the object store.
        seed: Of all draws.
        run: The run directory, whose inputs must be these.

    Raises:
        InputError: If data or network cannot be used.
        StoreError: If the run directory was made from other inputs.
    """
    found: TrainingFacts = fetch(_DESCRIBE.remote(task_ref), "Describing the network and the data")
    facts: dict[str, Fact] = {
        **versions(),
        **task_facts(task),
        "weights": found.weights,
        "architecture": found.architecture,
        "num_samples_full": found.num_samples,
        "data": found.data,
        "seed": seed,
    }
    run.check_inputs("probe", facts)
    return found
