"""Opening a task's data and choosing the samples that are probed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from raytt.cluster.plumbing import ray_dataset as ray_data
from raytt.cluster.stages.prober import SplitName
from raytt.errors import InputError
from raytt.task.candidate import Candidate
from raytt.task.task import Task
from raytt.training.datasets import choose_subsample

DEFAULT_SAMPLES = 512
"""Training samples that are probed unless another number, or a larger batch, is asked for."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Opened:
    """What is probed of the task's data."""

    probed: Task
    """The task as probe workers get it."""
    timed: Task
    """The task as the timer and the reference run get it."""
    num_full: int
    """N_full, samples of the whole training set."""
    index: Mapping[SplitName, NDArray[np.int64]]
    """Positions of the probed samples."""
    timed_index: NDArray[np.int64]
    """Positions of the probed training samples in the data of ``timed``."""
    num_trained: int
    """Samples that a reference run trains on: N_full, or of a `ray.data.Dataset` N, as workers get no other rows."""

    read_notes: tuple[str, ...] = ()
    """What must be said of how it was read."""

    @property
    def num(self) -> int:
        """N, training samples probed."""
        return len(self.index["train"])

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user must be told, one sentence each."""
        if self.num_trained == self.num_full:
            return self.read_notes
        return (
            *self.read_notes,
            f"Reference runs train on the {self.num_trained:,} probed rows of the ray.data.Dataset, not on all "
            f"{self.num_full:,}.",
        )


def open_data(
    task: Task, candidates: Sequence[Candidate], samples: int | None, seed: int, *, validation: bool
) -> Opened:
    """Open the data, choose what is probed, and hold the batch sizes against both."""
    train = ray_data.open_source(task.data, task)
    num_full = ray_data.count(train)
    largest = _largest_batch(candidates, num_full)
    size = min(num_full, max(DEFAULT_SAMPLES, largest)) if samples is None else samples
    index: dict[SplitName, NDArray[np.int64]] = {
        "train": choose_subsample(num_full, None if size == num_full else size, seed)
    }
    if largest > size:
        raise InputError(
            f"A candidate has {_named(candidates)} {largest}, but only N = {size} samples are to be probed.",
            f"Probe at least {largest} samples, or keep batch sizes to at most {size}.",
        )
    others = None
    if not validation:
        # Workers would open it for nothing; and of a ray.data.Dataset they cannot.
        task = replace(task, validation=None)
    else:
        others = ray_data.open_source(task.validation, task)
        most = ray_data.count(others)
        index["validation"] = choose_subsample(most, None if most <= size else size, seed)
    probed, timed = ray_data.with_rows(task, train, others, index["train"], index.get("validation"))
    # Of a ray.data.Dataset there are the rows probed (and those for norms) and no others, numbered anew.
    compact = ray_data.is_ray_dataset(train)
    timed_index = np.arange(len(index["train"]), dtype=np.int64) if compact else index["train"]
    return Opened(
        probed=probed,
        timed=timed,
        num_full=num_full,
        index=index,
        timed_index=timed_index,
        num_trained=len(index["train"]) if compact else num_full,
    )


def open_for_training(task: Task, candidates: Sequence[Candidate]) -> Opened:
    """Open the data whole, as training in the user's own mode reads it: nothing is probed, and no sample left out."""
    whole, num_full, notes = ray_data.with_all_rows(task)
    _largest_batch(candidates, num_full)
    everything = np.arange(num_full, dtype=np.int64)
    return Opened(
        probed=whole,
        timed=whole,
        num_full=num_full,
        index={"train": everything},
        timed_index=everything,
        num_trained=num_full,
        read_notes=notes,
    )


def _largest_batch(candidates: Sequence[Candidate], num_full: int) -> int:
    """The largest batch size, if the data has as many samples."""
    largest = max(c.samples_per_step for c in candidates)
    if largest > num_full:
        raise InputError(
            f"A candidate has {_named(candidates)} {largest}, but the training data has only N = {num_full} samples.",
            f"Keep batch sizes in the search space to at most {num_full}.",
        )
    return largest


def _named(candidates: Sequence[Candidate]) -> str:
    """What the samples of a step are the product of."""
    return "batch_size" if all(c.accumulation_steps == 1 for c in candidates) else "batch_size · accumulation_steps"
