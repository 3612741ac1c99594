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

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from raytt.errors import InputError
from raytt.rates.randomness import seeded
from raytt.store.fingerprint import hash_batch
from raytt.task.task import Inputs, Task
from raytt.training.datasets import load_batch, open_dataset
from raytt.training.model import prepare_for_training, weights_fingerprint

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
    first, inputs = _read(task, dataset, 0)
    check_reopening(task)
    random_items = _read(task, dataset, 1)[0] != first
    model = prepare_for_training(task)
    weights, architecture = weights_fingerprint(model.module), str(model.module)
    random_network = _passes_differ(model.module, model.forward, inputs)
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
        notes=(*model.notes, *_notes(random_items=random_items, random_network=random_network, norms=norms)),
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
    for seed in (0, 1):
        with seeded("opening", seed):
            dataset = open_dataset(source, task)
        hashes.append((len(dataset), _read(task, dataset, 0)[0]))  # type: ignore[arg-type]
    if hashes[0] != hashes[1]:
        raise InputError(
            f"Task.{what} of {task.name!r} gives other samples each time it is opened, such as a random split without "
            "a seed: workers would not agree, and validation samples would be trained on.",
            "Seed the split, for example with generator=torch.Generator().manual_seed(0).",
        )


def _read(task: Task, dataset: Any, seed: int) -> tuple[str, Inputs]:
    with seeded("reading", seed):
        inputs, targets = load_batch(task, dataset, range(min(CHECKED, len(dataset))))
    return hash_batch(inputs, targets), inputs


def _passes_differ(module: nn.Module, forward: Any, inputs: Inputs) -> bool:
    results: list[Tensor] = []
    for seed in (0, 1):
        with seeded("pass", seed), torch.no_grad():
            # Statistics of the minibatch are used either way; the running ones are not read.
            results.append(forward(module, dict(inputs) if isinstance(inputs, Mapping) else inputs))
    return not torch.equal(results[0], results[1])


def _notes(*, random_items: bool, random_network: bool, norms: int) -> list[str]:
    notes = []
    if random_items:
        notes.append("Items differ each time they are read (augmentation): every minibatch is read afresh.")
    if random_network:
        notes.append("The network is random in training mode (dropout or stochastic depth), as in your own training.")
    if norms:
        layers = "1 batch-norm layer normalises" if norms == 1 else f"{norms} batch-norm layers normalise"
        notes.append(f"{layers} by the statistics of each minibatch (training mode).")
    return notes
