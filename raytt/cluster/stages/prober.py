"""The actor that probes: the network on a worker, asked for its facts, for hashes of samples, and for rows."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import ray
import torch
from numpy.typing import NDArray

from raytt.cluster.plumbing.process import settle
from raytt.errors import InputError
from raytt.probe.settings import ProbeSettings
from raytt.probe.worker import Point, ProbeFacts, ProbeWorker
from raytt.store.fingerprint import hash_batch
from raytt.store.run import Arrays
from raytt.task.task import Task
from raytt.training.datasets import load_batch, open_dataset
from raytt.training.model import weights_fingerprint

SplitName = Literal["train", "validation"]
Index = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class NetworkFacts:
    """What a worker found the network to be."""

    facts: ProbeFacts
    """Sizes and notes."""
    weights: str
    """Hash of parameters and buffers."""
    architecture: str
    """Hash of the printed modules."""


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What the driver learns of a block of rows that a worker holds."""

    weights: str
    """Hash of the worker's pre-trained weights."""
    notice: str = ""
    """What the user must be told, empty where all went well."""


class Prober:
    """A probe worker as an actor: light to create, loaded on demand, stateless between items but for how much it does
    at a time. An actor is a process of its own, with a GPU of its own where workers have one.
    """

    def __init__(self, task: Task, settings: ProbeSettings, train_index: Index, gpus: float) -> None:
        settle(threads=settings.num_threads, gpus=gpus)
        self._task = task
        self._settings = settings
        self._train_index = train_index
        self._datasets: dict[str, Any] = {}
        self._point = ""
        self._told = 0

    def place(self) -> str:
        """Return at once, with the id of the node: the actor has its resources."""
        return str(ray.get_runtime_context().get_node_id())

    def load(self) -> None:
        """Build the network and open the data."""
        self._datasets["train"] = open_dataset(self._task.data, self._task)
        if self._task.validation is not None:
            self._datasets["validation"] = open_dataset(self._task.validation, self._task)
        self._worker = ProbeWorker(
            self._task,
            self._settings,
            self._train_index,
            data=self._datasets["train"],
            validation=self._datasets.get("validation"),
        )
        self._weights = weights_fingerprint(self._worker.network.module)

    def describe(self) -> NetworkFacts:
        """Facts and hashes of the network, once it is known that the factory gives the same again.

        Raises:
            InputError: If it does not.
        """
        # On many workers differences would show by themselves, but not always on one, nor before a run is repeated.
        again = dict(self._task.model().named_parameters())
        for name, parameter in self._worker.network.module.named_parameters():
            check_alike(again[name].shape == parameter.shape and torch.equal(again[name].cpu(), parameter.cpu()))
        return NetworkFacts(
            facts=self._worker.facts(),
            weights=self._weights,
            architecture=hashlib.sha256(repr(self._worker.network.module).encode()).hexdigest()[:32],
        )

    def hash_data(self, split: SplitName, index: Index) -> tuple[str, str]:
        """Hashes of this worker's weights, and of the samples at ``index``."""
        return self._weights, hash_batch(*load_batch(self._task, self._datasets[split], index))

    def likely(self, split: SplitName, index: Index, point: str, arrays: Arrays) -> Index:
        """The likeliest wrong classes at a tangent point, see `ProbeWorker.likely`."""
        self._move(point, arrays)
        return self._worker.likely(index, split)

    def probe(
        self, split: SplitName, index: Index, point: str = "", arrays: Arrays | None = None, likely: Index | None = None
    ) -> tuple[Receipt, Arrays]:
        """A receipt, and the `Shard` of the samples at ``index`` as arrays.

        Args:
            split: Where the samples come from.
            index: Their positions.
            point: Name of the tangent point, empty for the pre-trained weights.
            arrays: Fields of the `raytt.probe.worker.Point` of that name.
            likely: See `ProbeWorker.probe`.
        """
        self._move(point, arrays)
        shard = self._worker.probe(index, split, likely)
        receipt = Receipt(weights=self._weights, notice=self._notice())
        return receipt, {name: array for name, array in vars(shard).items() if array is not None}

    def position(self, point: str, arrays: Arrays) -> NDArray[np.float64]:
        """Where a tangent point lies, see `ProbeWorker.position`."""
        self._move(point, arrays)
        return self._worker.position()

    def _notice(self) -> str:
        """That memory ran out since the last notice."""
        portion = self._worker.portion
        if portion.halvings == self._told:
            return ""
        self._told = portion.halvings
        return (
            f"the device {self._settings.device!r} of a worker ran out of memory; it goes on with {portion} at a time, "
            "which changes the last bits of its rows."
        )

    def _move(self, point: str, arrays: Arrays | None) -> None:
        if point != self._point:
            self._worker.move(None if arrays is None else Point(**arrays))
            self._point = point


def check_alike(alike: bool) -> None:
    if not alike:
        raise InputError(
            "The model factory does not give the same weights on every call.",
            "Load saved weights, or draw new ones from a generator with a fixed seed inside the factory "
            "(torch.manual_seed in its first line does). Where the forward pass itself changes weights (a cap on "
            "norms), use mode='train'.",
        )
