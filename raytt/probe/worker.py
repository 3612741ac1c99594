"""A probe worker: from positions in the data set to a `Shard` of sketched Jacobian rows. A plain class without Ray."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raytt.data import load_batch, open_dataset, to_device
from raytt.errors import InputError
from raytt.losses import as_loss
from raytt.model import PreparedModel, prepare_model
from raytt.probe.jacobian import Plan, jacobian_rows
from raytt.probe.layers.use import Budget
from raytt.probe.plan import make_plan, micro_batch_size
from raytt.probe.reference import unflatten
from raytt.probe.shard import Shard
from raytt.probe.sketch import CountSketch, ScaledSketches, Sketch, project
from raytt.task import Inputs, Task


@dataclass(frozen=True, kw_only=True)
class ProbeSettings:
    """How Jacobian rows are computed. All of it is part of a run's fingerprint: another value means other bits."""

    proj_dim: int = 2048
    """Sketch dimension R."""
    proj_seed: int = 0
    """Seed of the sketch."""
    block_size: int = 16
    """Samples per block, the unit of work that always gives the same bits; fewer run at a time to save memory."""
    device: str = "cpu"
    """Where the network runs, as torch names it."""
    num_threads: int = 1
    """CPU threads of torch while probing."""
    max_chunk_bytes: int = 512 * 2**20
    """Bound in bytes on each of the large transients: output gradients of a group of outputs (at least one output), an
    unfolded layer input (at least one row of one sample), a tile of weight gradients (at least one weight row)."""

    def __post_init__(self) -> None:
        for name in ("proj_dim", "block_size", "num_threads", "max_chunk_bytes"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}, below 1.", f"Give a positive {name}.")


@dataclass(frozen=True, kw_only=True, eq=False)
class Point:
    """A tangent point on the path of a reference run; arrays are flattened in the order of trainable parameters."""

    weights: NDArray[np.float32] | None
    """w_s, shape (D,); None for the pre-trained weights."""
    scale: NDArray[np.float32] | None = None
    """D_s of a preconditioned optimizer, shape (D,)."""
    common: NDArray[np.float32] | None = None
    """D₀, by which all points of the path are scaled, shape (D,)."""


@dataclass(frozen=True, kw_only=True)
class ProbeFacts:
    """What a probe found out about the network."""

    num_outputs: int
    """C."""
    num_params: int
    """Weights in the network."""
    num_trainable: int
    """D, trainable weights."""
    notes: tuple[str, ...]
    """What the user must be told, one sentence each."""


class ProbeWorker:
    """Computes Jacobian rows of samples of a task at one tangent point.

    The index of each call is cut into blocks of ``block_size`` samples from its front, each block into micro-batches of
    a fixed size; a last short one is padded by repeating samples and cut again. Calls that split an index at
    multiples of ``block_size`` therefore give the same bits as one call, in any order and on any number of workers.

    Args:
        task: What would be trained.
        settings: How rows are computed.
        train_index: Positions of all training samples that will be probed, by any worker: the first of them serve to
            choose and check the route of each parameter, so that every worker chooses alike.
        weights: The tangent point w_s, by trainable parameter; by default the pre-trained weights w₀.
        data: Opened training data, if ``task.data`` cannot be opened here.
        validation: Opened validation data, likewise.

    Raises:
        InputError: If model, data or loss cannot be used, or the network has no per-sample gradient.
    """

    def __init__(
        self,
        task: Task,
        settings: ProbeSettings,
        train_index: Sequence[int] | NDArray[np.int64],
        *,
        weights: Mapping[str, Tensor] | None = None,
        data: Any = None,
        validation: Any = None,
    ) -> None:
        index = np.asarray(train_index, dtype=np.int64)
        if index.ndim != 1 or len(index) == 0:
            raise InputError(f"train_index has shape {index.shape}.", "Give at least one sample position.")
        self._task = task
        self._settings = settings
        self._loss = as_loss(task.loss)
        self._sources = {
            "train": task.data if data is None else data,
            "validation": task.validation if validation is None else validation,
        }
        self._datasets: dict[str, Any] = {}
        self._plain = CountSketch(settings.proj_dim, settings.proj_seed)
        self._sketch: Sketch = self._plain
        self._common: dict[str, Tensor] | None = None
        self._budget = Budget(max_bytes=settings.max_chunk_bytes)
        with self._threads():
            self._network = prepare_model(task, device=settings.device)
            self._anchor = {name: p.detach().clone() for name, p in self._network.trainable.items()}
            self._load(weights or {})
            self._plan = self._choose_routes(index[: settings.block_size])

    @property
    def network(self) -> PreparedModel:
        """The network that is probed."""
        return self._network

    def facts(self) -> ProbeFacts:
        """Sizes and notes."""
        notes = list(self._network.notes)
        if self._plan.generic:
            reasons = "; ".join(f"{name}: {why}" for name, why in list(self._plan.generic.items())[:3])
            more = f"; and {len(self._plan.generic) - 3} more" if len(self._plan.generic) > 3 else ""
            notes.append(
                f"{len(self._plan.generic)} of {len(self._network.trainable)} parameters take the slower "
                f"sample-by-sample route ({reasons}{more})."
            )
        return ProbeFacts(
            num_outputs=self._plan.num_outputs,
            num_params=self._network.num_params,
            num_trainable=self._network.num_trainable,
            notes=tuple(notes),
        )

    def move(self, point: Point | None) -> None:
        """Go to another tangent point of the same network, None the pre-trained weights; routes stay as chosen."""
        trainable = self._network.trainable
        at_start = point is None or point.weights is None
        self._load(self._anchor if at_start else unflatten(point.weights, trainable))  # type: ignore[union-attr,arg-type]
        self._common = None
        self._sketch = self._plain
        if point is not None and point.scale is not None and point.common is not None:
            scale = {n: t.reshape(-1) for n, t in unflatten(point.scale, trainable).items()}
            common = {n: t.reshape(-1) for n, t in unflatten(point.common, trainable).items()}
            device = self._settings.device
            rows = {n: (c**-0.5).to(device) for n, c in common.items()}
            updates = {n: (c**0.5 / scale[n]).to(device) for n, c in common.items()}
            self._common = common
            self._sketch = ScaledSketches(self._plain, [rows, updates])

    def position(self) -> NDArray[np.float64]:
        """Sᵀ D₀^½ (w_s − w₀), shape (R,): where this tangent point lies; zero at the pre-trained weights."""
        moved = {name: p.detach().double() - self._anchor[name].double() for name, p in self._network.trainable.items()}
        if self._common is not None:
            moved = {n: m.cpu() * self._common[n].double().sqrt().view(m.shape) for n, m in moved.items()}
        position: NDArray[np.float64] = project(self._plain, moved).numpy()
        return position

    def probe(self, index: Sequence[int] | NDArray[np.int64], split: Literal["train", "validation"] = "train") -> Shard:
        """Jacobian rows of the samples at ``index`` (n ≥ 1 positions) of a split.

        Raises:
            InputError: If inputs, outputs, targets or gradients are not usable; the message names the samples.
        """
        positions = np.asarray(index, dtype=np.int64)
        if positions.ndim != 1 or len(positions) == 0:
            raise InputError(f"The index has shape {positions.shape}.", "Give at least one sample position.")
        n, C, R = len(positions), self._plan.num_outputs, self._sketch.proj_dim
        outputs, rows = np.empty((n, C), np.float32), np.empty((n, C, R), np.float32)
        radial = np.empty((n, C), np.float32)
        targets = []
        with self._threads():
            for part in self._parts(n):
                block = positions[part]
                inputs, labels = self._batch(split, block, self._plan.num_samples)
                result = jacobian_rows(
                    self._network,
                    inputs,
                    self._plan,
                    self._sketch,
                    self._budget,
                    anchor=self._anchor,
                    count=len(block),
                )
                _check_finite("outputs", result.outputs, block)
                _check_finite("gradients", result.rows, block)
                _check_finite("gradients", result.radial, block)
                self._loss.check(result.outputs.cpu(), labels)
                outputs[part] = result.outputs.float().cpu().numpy()
                rows[part] = result.rows.float().cpu().numpy()
                radial[part] = result.radial.float().cpu().numpy()
                targets.append(labels.numpy())
        first = self._settings.proj_dim
        return Shard(
            index=positions,
            outputs=outputs,
            rows=np.ascontiguousarray(rows[..., :first]),
            radial=radial,
            targets=np.concatenate(targets),
            updates=np.ascontiguousarray(rows[..., first:]) if first < R else None,
        )

    def _parts(self, count: int) -> Iterator[slice]:
        """Micro-batches of ``count`` samples; none reaches across the end of a block."""
        for start in range(0, count, self._settings.block_size):
            stop = min(start + self._settings.block_size, count)
            for first in range(start, stop, self._plan.num_samples):
                yield slice(first, min(first + self._plan.num_samples, stop))

    def _batch(self, split: str, block: NDArray[np.int64], size: int) -> tuple[Inputs, Tensor]:
        """Inputs of ``size`` samples on the device, those of the block repeated; and the targets of the block."""
        if split not in self._datasets:
            source = self._sources.get(split)
            if source is None:
                raise InputError(f"Task {self._task.name!r} has no {split} data.", "Give it to Task.")
            self._datasets[split] = open_dataset(source, self._task)
        inputs, targets = load_batch(self._task, self._datasets[split], np.resize(block, size))
        labels = targets[: len(block)]
        labels = labels.to(torch.float32) if labels.is_floating_point() else labels.to(torch.int64)
        return to_device(inputs, self._settings.device), labels

    def _choose_routes(self, block: NDArray[np.int64]) -> Plan:
        inputs, labels = self._batch("train", block, len(block))
        with torch.no_grad():
            outputs = self._network.forward(self._network.module, inputs)
        if outputs.ndim == 2 and len(outputs) == len(block):
            _check_finite("outputs", outputs, block)
        self._loss.check(outputs.cpu(), labels)
        size = micro_batch_size(self._network, inputs, len(block), self._budget)
        inputs, _ = self._batch("train", block[:size], size)
        return make_plan(self._network, inputs, size, self._budget)

    def _load(self, weights: Mapping[str, Tensor]) -> None:
        unknown = sorted(set(weights) - set(self._network.trainable))
        if unknown:
            raise InputError(f"The tangent point has weights for {unknown}, which do not train.", "Leave them out.")
        with torch.no_grad():
            for name, tensor in weights.items():
                self._network.trainable[name].copy_(tensor)

    @contextmanager
    def _threads(self) -> Iterator[None]:
        before = torch.get_num_threads()
        torch.set_num_threads(self._settings.num_threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def _check_finite(what: str, values: Tensor, block: NDArray[np.int64]) -> None:
    bad = (~torch.isfinite(values)).reshape(len(block), -1).any(dim=1).cpu().numpy()
    if bad.any():
        samples = ", ".join(str(i) for i in block[bad][:5])
        more = f" and {int(bad.sum()) - 5} more" if bad.sum() > 5 else ""
        raise InputError(
            f"The network's {what} hold NaN or infinite values for samples {samples}{more}.",
            "Check those samples and the weights; square roots, logarithms and divisions at 0 have infinite gradients.",
        )
