"""Whether data and network are random, and whether the data is the same each time it is opened.

The first items of the training data are read twice from one opening and once from another, with other seeds for the
opening and the same or another seed for reading; one minibatch is passed through the network twice:

==========================================  =============================================================
what differs                                what follows
==========================================  =============================================================
two readings with different seeds           items are augmented at random: rates read them afresh
readings of two openings, the same seed     the data itself differs each time it is opened: refused
two passes with different seeds             the network is random in training mode (dropout)
==========================================  =============================================================

An unseeded random split inside ``data`` is of the second kind: every process would train and validate on other samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from raytt.errors import InputError
from raytt.rates.fresh_batches import sample_weights_of
from raytt.rates.randomness import seeded
from raytt.store.fingerprint import hash_nest
from raytt.task.task import Task
from raytt.training.datasets import open_dataset
from raytt.training.first_pass import first_pass
from raytt.training.model import PreparedModel, prepare_for_training, weights_fingerprint
from raytt.training.objective import Objective

CHECKED = 8
"""Items that are read."""


@dataclass(frozen=True, kw_only=True)
class TrainingFacts:
    """What a task is in training mode."""

    weights: str
    """Hash of the pre-trained parameters and buffers."""
    architecture: str
    """The printed modules."""
    data: str
    """Hash of the first items, read with a fixed seed."""
    num_samples: int
    """N_full."""
    num_trainable: int
    """D."""
    random_items: bool
    """Whether items differ from one reading to the next."""
    random_network: bool
    """Whether outputs differ from one pass to the next."""
    batch_norms: int
    """Layers that normalise by the statistics of the minibatch."""
    lowest_loss: float
    """The lowest loss that was seen or is known to be possible: of the first minibatch, or of a sample with other
    outputs (`raytt.training.loss_sign`)."""
    notes: tuple[str, ...]
    """What the user must be told, one sentence each."""


def training_facts(task: Task) -> TrainingFacts:
    """Open the data twice, read, build the network, pass.

    Raises:
        InputError: If the data differs each time it is opened, or data or network cannot be used.
    """
    with seeded("opening", 0):
        dataset = open_dataset(task.data, task)
    total = len(dataset)  # type: ignore[arg-type]
    sample_weights_of(task, total)
    objective = Objective(task)
    first, batch = _read(objective, dataset, 0, training=True)
    check_reopening(task)
    random_items = _read(objective, dataset, 1, training=True)[0] != first
    model = prepare_for_training(task)
    weights, architecture = weights_fingerprint(model.module), str(model.module)
    with seeded("pass", 0):
        passed = first_pass(model, objective, batch, task=task.name)
    random_network = _passes_differ(model, objective, batch)
    norms = sum(isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training for m in model.module.modules())
    return TrainingFacts(
        weights=weights,
        architecture=architecture,
        data=first,
        num_samples=total,
        num_trainable=model.num_trainable,
        random_items=random_items,
        random_network=random_network,
        batch_norms=norms,
        lowest_loss=min(passed.loss, objective.lowest(model, batch)),
        notes=(
            *getattr(dataset, "notes", ()),
            *model.notes,
            *passed.notes,
            *_notes(random_items=random_items, random_network=random_network, norms=norms),
        ),
    )


def check_reopening(task: Task) -> None:
    """Open data and validation data twice each, where a function makes them, and compare their first items.

    Raises:
        InputError: If they differ.
    """
    for what, source in (("data", task.data), ("validation", task.validation)):
        if callable(source):
            _compare_openings(task, source, what)


def _compare_openings(task: Task, source: Any, what: str) -> None:
    hashes = []
    objective = Objective(task)
    for seed in (0, 1):
        with seeded("opening", seed):
            dataset = open_dataset(source, task)
        hashes.append((len(dataset), _read(objective, dataset, 0)[0]))  # type: ignore[arg-type]
    if hashes[0] != hashes[1]:
        raise InputError(
            f"Task.{what} of {task.name!r} gives other samples each time it is opened, such as a random split without "
            "a seed: workers would not agree, and validation samples would be trained on.",
            "Seed the split, for example with generator=torch.Generator().manual_seed(0).",
        )


def _read(objective: Objective, dataset: Any, seed: int, *, training: bool = False) -> tuple[str, Any]:
    with seeded("reading", seed):
        batch = objective.read(dataset, range(min(CHECKED, len(dataset))), training=training)
    return hash_nest(batch), batch


def _passes_differ(model: PreparedModel, objective: Objective, batch: Any) -> bool:
    results: list[float] = []
    for seed in (0, 1):
        with seeded("pass", seed), torch.no_grad():
            # Statistics of the minibatch are used either way; the running ones are not read.
            results.append(float(objective.value(model, batch)))
    # Written so that a loss that is not finite is no sign of chance.
    return results[0] < results[1] or results[0] > results[1]


def _notes(*, random_items: bool, random_network: bool, norms: int) -> list[str]:
    notes = []
    if random_items:
        notes.append("Items differ each time they are read (augmentation, mixing): every minibatch is read afresh.")
    if random_network:
        notes.append("The network is random in training mode (dropout or stochastic depth), as in your own training.")
    if norms:
        layers = "1 batch-norm layer normalises" if norms == 1 else f"{norms} batch-norm layers normalise"
        notes.append(f"{layers} by the statistics of each minibatch (training mode).")
    return notes
