"""A probe worker: from positions in the data set to a `Shard` of sketched Jacobian rows. A plain class without Ray."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raytt.errors import InputError
from raytt.probe.jacobian import ProbePlan, Rows, jacobian_rows
from raytt.probe.memory import Fitting, Portion
from raytt.probe.outputs import FewOutputs, attach, few_outputs
from raytt.probe.plan import check_alone, make_plan, micro_batch_size, smaller_plan
from raytt.probe.precision import in_precision, plain_convolutions, rounding_note
from raytt.probe.prefetch import Feed
from raytt.probe.reading import Cut, Reader
from raytt.probe.settings import ProbeSettings
from raytt.probe.shard import Shard
from raytt.probe.sketch import CountSketch, ScaledSketches, Sketch, project
from raytt.task.losses import as_loss
from raytt.task.task import Inputs, Task
from raytt.training.datasets import to_device
from raytt.training.model import PreparedModel, prepare_model
from raytt.training.reference_run import unflatten

Index = NDArray[np.int64]
Positions = Sequence[int] | Index
Name = Literal["train", "validation"]
"""Of a split."""


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
    outputs_per_sample: int
    """k, those of them probed of each sample; fewer than C where there are many classes (`raytt.probe.outputs`)."""
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
    multiples of ``block_size`` therefore give the same bits as one call, in any order and on any number of workers of
    the same kind. One exception: a worker whose device runs out of memory goes on with fewer samples at a time, for
    good, and from then on its rows equal those of others to rounding only (`raytt.probe.memory`,
    `Shard.halvings`). What it begins with follows from settings and the first samples, not from free memory.

    With ``settings.precision`` "bfloat16" rows come from passes in bfloat16 (`raytt.probe.precision`); routes are
    chosen in float32 all the same.

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
        train_index: Positions,
        *,
        weights: Mapping[str, Tensor] | None = None,
        data: Any = None,
        validation: Any = None,
    ) -> None:
        index = np.asarray(train_index, dtype=np.int64)
        if index.ndim != 1 or len(index) == 0:
            raise InputError(f"train_index has shape {index.shape}.", "Give at least one sample position.")
        self._settings = settings
        self._loss = as_loss(task.loss)
        self._reader = Reader(
            task,
            {
                "train": task.data if data is None else data,
                "validation": task.validation if validation is None else validation,
            },
        )
        self._plain = CountSketch(settings.proj_dim, settings.proj_seed)
        self._sketch: Sketch = self._plain
        self._common: dict[str, Tensor] | None = None
        # Two at least: samples that influence each other must show even where they are differentiated one by one.
        self._first = index[: max(2, settings.block_size)]
        most = min(settings.block_size, len(index))
        self._fitting = Fitting(Portion(num_samples=most, max_bytes=settings.max_chunk_bytes), settings.device)
        with self._settled():
            self._network = prepare_model(task, device=settings.device)
            self._anchor = {name: p.detach().clone() for name, p in self._network.trainable.items()}
            self._load(weights or {})
            self._whole = self._network
            # None while the whole width is looked at, from which the choice follows.
            self._few: FewOutputs | None = None
            self._few = self._choose_outputs()
            if self._few is not None:
                self._network = self._few.narrow(self._whole)
            self._lowered = in_precision(self._network, settings.precision, settings.device)
            self._plan = self._fitting.finish(self._choose_routes)
        self._fitting.limit(self._plan.num_samples)
        self._plans = {self._plan.num_samples: self._plan}

    @property
    def network(self) -> PreparedModel:
        """The network that is probed."""
        return self._network

    @property
    def portion(self) -> Portion:
        """How much is computed at a time."""
        return self._fitting.portion

    def facts(self) -> ProbeFacts:
        """Sizes and notes; in lower precision with what it changes on the first samples."""
        notes = list(self._network.notes)
        if self._plan.generic:
            reasons = "; ".join(f"{name}: {why}" for name, why in list(self._plan.generic.items())[:3])
            more = f"; and {len(self._plan.generic) - 3} more" if len(self._plan.generic) > 3 else ""
            notes.append(
                f"{len(self._plan.generic)} of {len(self._network.trainable)} parameters take the slower "
                f"sample-by-sample route ({reasons}{more})."
            )
        if self._settings.precision != "float32":
            with self._settled():
                notes.append(self._fitting.finish(self._note_rounding))
        if self._few is not None:
            notes.append(
                f"Of the network's {self._few.num_classes:,} outputs {self._few.count} were probed per sample, which "
                "stand for the others (--max-outputs); predicted accuracies are against those alone, and too high."
            )
        return ProbeFacts(
            num_outputs=self._plan.num_outputs if self._few is None else self._few.num_classes,
            outputs_per_sample=self._plan.num_outputs,
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

    def likely(self, index: Positions, split: Name = "train") -> Index:
        """The likeliest wrong classes of each sample at this tangent point, see `FewOutputs.likely`; (n, 0) where all
        outputs are probed.
        """
        positions = _positions(index)
        if self._few is None:
            return np.empty((len(positions), 0), np.int64)
        found = []
        with self._settled(), torch.no_grad():
            for start in range(0, len(positions), self._settings.block_size):
                block = positions[start : start + self._settings.block_size]
                inputs, labels = self._reader.read(split, block, Cut(0, len(block), len(block)))
                outputs = self._whole.forward(self._whole.module, to_device(inputs, self._settings.device))
                _check_finite("outputs", outputs, block)
                found.append(self._few.likely(outputs, labels))
        return np.concatenate(found)

    def probe(self, index: Positions, split: Name = "train", likely: Index | None = None) -> Shard:
        """Jacobian rows of the samples at ``index`` (n ≥ 1 positions) of a split.

        Args:
            index: Their positions.
            split: Where they come from.
            likely: Where few of many outputs are probed, the likeliest wrong classes of each at the end of the
                reference run on whose path this point lies; None elsewhere.

        Raises:
            InputError: If inputs, outputs, targets or gradients are not usable; the message names the samples.
        """
        positions = _positions(index)
        n, C, R = len(positions), self._plan.num_outputs, self._sketch.proj_dim
        outputs, rows = np.empty((n, C), np.float32), np.empty((n, C, R), np.float32)
        radial, halvings = np.empty((n, C), np.float32), np.zeros(n, np.int64)
        targets = []
        start = 0
        with self._settled(), Feed(partial(self._read, split, positions, likely), self._settings.device) as feed:
            while start < n:
                portion = self._fitting.portion
                found = self._fitting.attempt(partial(self._compute, feed, positions, start))
                if found is None:
                    continue
                result, labels = found
                part = slice(start, start + len(labels))
                outputs[part], rows[part], radial[part] = result.outputs, result.rows, result.radial
                halvings[part] = portion.halvings
                targets.append(labels.numpy())
                start = part.stop
        first = self._settings.proj_dim
        updates = rows[..., first:] if first < R else None
        rows = rows[..., :first]
        if self._few is not None and likely is not None:
            updates = self._few.pulled(rows if updates is None else updates)
            measured = self._few.measured(on_path=True)
            outputs, rows, radial = outputs[:, measured], rows[:, measured], radial[:, measured]
        return Shard(
            index=positions,
            outputs=outputs,
            rows=np.ascontiguousarray(rows),
            radial=radial,
            targets=np.concatenate(targets),
            updates=None if updates is None else np.ascontiguousarray(updates),
            halvings=halvings if halvings.any() else None,
        )

    def _read(self, split: str, positions: Index, likely: Index | None, cut: Cut) -> tuple[Inputs, Tensor]:
        """Inputs and targets of a micro-batch; where few outputs are probed, with their choice and its weights."""
        inputs, labels = self._reader.read(split, positions, cut)
        if self._few is None:
            return inputs, labels
        part = slice(cut.start, cut.stop)
        chosen = self._few.choose(labels, positions[part], split, None if likely is None else likely[part])
        return attach(inputs, chosen[0]), torch.as_tensor(chosen[1])

    def _choose_outputs(self) -> FewOutputs | None:
        inputs, labels = self._first_inputs(min(2, len(self._first)))
        with torch.no_grad():
            outputs = self._network.forward(self._network.module, inputs)
        if outputs.ndim != 2:
            return None
        few = few_outputs(self._loss, outputs.shape[1], self._settings.max_outputs, self._settings.proj_seed)
        if few is not None:
            self._loss.check(outputs.cpu(), labels)
        return few

    def _compute(self, feed: Feed, positions: Index, start: int, portion: Portion) -> tuple[Rows, Tensor]:
        """Rows of the micro-batch that begins at ``start`` and its targets, on the host."""
        count, size, block_size = len(positions), portion.num_samples, self._settings.block_size
        cut = Cut.at(start, count, size, block_size)
        following = Cut.at(cut.stop, count, size, block_size) if cut.stop < count else None
        inputs, labels = feed.get(cut, following)
        block = positions[cut.start : cut.stop]
        result = jacobian_rows(
            self._lowered,
            inputs,
            self._plan_for(portion, inputs),
            self._sketch,
            portion.budget,
            anchor=self._anchor,
            count=len(block),
        )
        _check_finite("outputs", result.outputs, block)
        _check_finite("gradients", result.rows, block)
        _check_finite("gradients", result.radial, block)
        outputs, rows, radial = (t.float().cpu() for t in (result.outputs, result.rows, result.radial))
        if self._few is None:
            self._loss.check(outputs, labels)
        return Rows(outputs=outputs, rows=rows, radial=radial), labels

    def _first_inputs(self, count: int) -> tuple[Inputs, Tensor]:
        """The first samples, on the device, and their targets."""
        inputs, labels = self._read("train", self._first, None, Cut(0, count, count))
        return to_device(inputs, self._settings.device), labels

    def _choose_routes(self, portion: Portion) -> ProbePlan:
        seen = self._first[: max(2, portion.num_samples)]
        inputs, labels = self._first_inputs(len(seen))
        with torch.no_grad():
            outputs = self._network.forward(self._network.module, inputs)
        if outputs.ndim == 2 and len(outputs) == len(seen):
            _check_finite("outputs", outputs, seen)
        if self._few is None:
            self._loss.check(outputs.cpu(), labels)
        size = micro_batch_size(self._network, inputs, portion.num_samples, portion.budget)
        plan = make_plan(self._network, self._first_inputs(size)[0], size, portion.budget)
        if size == 1 < len(seen):
            check_alone(self._network, inputs, outputs)
        return plan

    def _plan_for(self, portion: Portion, inputs: Inputs) -> ProbePlan:
        size = portion.num_samples
        if size not in self._plans:
            self._plans[size] = smaller_plan(self._network, inputs, self._plan, size, portion.budget)
        return self._plans[size]

    def _note_rounding(self, portion: Portion) -> str:
        inputs, _ = self._first_inputs(portion.num_samples)
        plan = self._plan_for(portion, inputs)
        exact, rough = (
            jacobian_rows(network, inputs, plan, self._sketch, portion.budget)
            for network in (self._network, self._lowered)
        )
        return rounding_note(exact, rough)

    def _load(self, weights: Mapping[str, Tensor]) -> None:
        unknown = sorted(set(weights) - set(self._network.trainable))
        if unknown:
            raise InputError(f"The tangent point has weights for {unknown}, which do not train.", "Leave them out.")
        with torch.no_grad():
            for name, tensor in weights.items():
                self._network.trainable[name].copy_(tensor)

    @contextmanager
    def _settled(self) -> Iterator[None]:
        before = torch.get_num_threads()
        torch.set_num_threads(self._settings.num_threads)
        try:
            with plain_convolutions(self._settings.device):
                yield
        finally:
            torch.set_num_threads(before)


def _positions(index: Positions) -> Index:
    positions = np.asarray(index, dtype=np.int64)
    if positions.ndim != 1 or len(positions) == 0:
        raise InputError(f"The index has shape {positions.shape}.", "Give at least one sample position.")
    return positions


def _check_finite(what: str, values: Tensor, block: Index) -> None:
    bad = (~torch.isfinite(values)).reshape(len(block), -1).any(dim=1).cpu().numpy()
    if bad.any():
        samples = ", ".join(str(i) for i in block[bad][:5])
        more = f" and {int(bad.sum()) - 5} more" if bad.sum() > 5 else ""
        raise InputError(
            f"The network's {what} hold NaN or infinite values for samples {samples}{more}.",
            "Check those samples and the weights; square roots, logarithms and divisions at 0 have infinite gradients.",
        )
