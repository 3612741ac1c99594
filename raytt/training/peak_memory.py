"""What forward and backward passes of a task's training steps need in memory, found out without training.

A step with two minibatches is taken by `raytt.training.steps.Steps`, as in training, with copies of the network and of
a minibatch that have shapes and dtypes but no contents (``FakeTensorMode``), while `MemoryMeter` counts what is alive.
So activations, autocast's copies of weights, checkpointing and frozen parameters are what the user's network makes of
them. A step takes the same operations at every batch size, as a rule, and what is alive after each is a + b B: two
sizes tell a and b of each operation, and a third in the middle is the check.

A minibatch is the largest of the samples looked at, repeated: with padding to the longest in the minibatch this is the
most that one can need.

Where a network looks at values (data-dependent control flow), or does something else that tensors without contents do
not know, the same step is taken for real with `TINY` samples, and a and b are told from those.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensorMode
from torch.utils.data import Dataset

from raytt.errors import InputError
from raytt.pricing.step_memory import PassMemory, StepMemory
from raytt.task.candidate import Candidate
from raytt.task.nest import map_tensors, tensors
from raytt.task.task import Task
from raytt.training.datasets import open_dataset
from raytt.training.kernel_workspace import KernelWorkspace
from raytt.training.memory_meter import MemoryMeter
from raytt.training.model import PreparedModel, prepare_as_trained
from raytt.training.objective import Objective, batch_to_device
from raytt.training.steps import Steps

LOOKED_AT = 32
"""Samples, evenly over the data, of which the largest is taken."""
TINY = (2, 4)
"""Samples of a minibatch that is passed for real where tensors without contents cannot be used."""
AFFINE = 0.01
"""Share of the memory of a step by which what follows from two batch sizes may miss that of the one in their middle;
beyond it, both halves are looked at likewise."""
MOST_SIZES = 9
"""Batch sizes that are looked at, at most."""


def measure_step_memory(task: Task, batch_sizes: Iterable[int], *, device: str | torch.device = "cpu") -> StepMemory:
    """The memory of a task's training steps, at these batch sizes and between them.

    On a CPU kernels' own working space counts, see `raytt.training.kernel_workspace`; for a GPU, of which the same
    numbers without it are given, nothing is known of it but what the GPU itself tells.

    Args:
        task: What would be trained.
        batch_sizes: Of the candidates, at least one.
        device: Where tensors without contents pretend to be; a GPU must be there.

    Raises:
        InputError: If no batch size is given, data or network cannot be used, or a step for real fails, too.
    """
    sizes = sorted(set(batch_sizes))
    if not sizes or sizes[0] < 1:
        raise InputError(f"Batch sizes {sizes}.", "Give at least one, of at least 1.")
    model = prepare_as_trained(task, device=device)
    dataset = open_dataset(task.data, task)
    trial = _Trial(task, model, dataset, torch.device(device))
    smallest, largest = min(2, sizes[-1]), sizes[-1]
    source = "computed on tensors without contents"
    try:
        found = _measured(lambda size: trial.without_contents(size), smallest, largest, trial.weights)
    except Exception as error:
        # A network may do anything with tensors that hold nothing.
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        tiny = {size: trial.for_real(size) for size in TINY}
        found = {size: _expected(tiny, *TINY, size) for size in (*TINY, *_doublings(TINY[1], largest), *sizes)}
        source = (
            f"measured on minibatches of {TINY[0]} and {TINY[1]} samples, as the network looks at values ({reason})"
        )
    processor = torch.device(device).type
    passes = {"cuda": _passes(found, 0)}
    if processor == "cpu":
        passes["cpu"] = _passes(found, 1)
    gradients = [p.numel() * p.element_size() for p in model.trainable.values()]
    return StepMemory(
        weights=trial.weights,
        gradients=sum(gradients),
        largest_gradient=max(gradients),
        averaged=task.ema_decay is not None,
        passes=passes,
        source=source,
        factors=sum(_factors(p.shape) * p.element_size() for p in model.trainable.values()),
    )


def _factors(shape: torch.Size) -> int:
    """Numbers of `StepMemory.factors` of one gradient."""
    if len(shape) < 2:
        return shape.numel()
    return shape.numel() // max(shape[-1], 1) + shape.numel() // max(shape[-2], 1)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Passed:
    """Bytes alive besides the weights, after each operation while the first and the second minibatch were passed."""

    first: NDArray[np.float64]
    """Shape (operations, 2): of tensors, and with the working space of the operation."""
    later: NDArray[np.float64]
    """Likewise."""

    def peaks(self) -> NDArray[np.float64]:
        """Most at a time, shape (2, 2): first and later minibatch × tensors, with working space."""
        return np.stack([self.first.max(axis=0), self.later.max(axis=0)])

    def alike(self, other: _Passed) -> bool:
        """Whether both took as many operations."""
        return self.first.shape == other.first.shape and self.later.shape == other.later.shape


class _Watched(Objective):
    """The task's loss, which tells whether it is being computed; it is not scaled, which takes no room."""

    computing = False

    @property
    def scales_loss(self) -> bool:
        return False

    def value(self, model: PreparedModel, batch: Any) -> Tensor:
        self.computing = True
        try:
            return super().value(model, batch)
        finally:
            self.computing = False


class _FakeMeter(MemoryMeter):  # type: ignore[no-untyped-call]
    """Gives the training loop 0 for the loss it reads; the user's code gets torch's refusal instead."""

    def __init__(self, objective: _Watched, workspace: KernelWorkspace | None) -> None:
        super().__init__(workspace)
        self._objective = objective

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and count what it made."""
        within = self._objective.computing or torch._C._current_graph_task_id() != -1
        if func is torch.ops.aten._local_scalar_dense.default and not within:
            return 0.0
        return super().__torch_dispatch__(func, types, args, kwargs)


class _Trial:
    """Steps of a task at chosen batch sizes."""

    def __init__(self, task: Task, model: PreparedModel, dataset: Dataset[Any], device: torch.device) -> None:
        self._task, self._model, self._dataset, self._device = task, model, dataset, device
        self._workspace = KernelWorkspace() if device.type == "cpu" else None
        self._row = _largest_sample(Objective(task), dataset)
        meter = MemoryMeter()
        meter.hold(_state(model.module))
        self.weights = meter.live
        """Bytes of weights and buffers."""

    def without_contents(self, size: int) -> _Passed:
        """Of a step with minibatches of ``size`` samples that hold nothing."""
        fake = FakeTensorMode(allow_non_fake_inputs=True)
        with FakeCopyMode(fake):
            module = copy.deepcopy(self._model.module)
        parameters = dict(module.named_parameters())
        trainable = {name: parameters[name] for name in self._model.trainable}
        model = replace(self._model, module=module, trainable=trainable)
        objective = _Watched(self._task)
        batch = self._read(objective, size)
        return self._passed(
            model,
            objective,
            _FakeMeter(objective, self._workspace),
            size,
            lambda: map_tensors(fake.from_tensor, batch),
            fake,
        )

    def for_real(self, size: int) -> _Passed:
        """The same for real."""
        objective = _Watched(self._task)
        batch = self._read(objective, size)
        with torch.random.fork_rng():
            return self._passed(self._model, objective, MemoryMeter(self._workspace), size, lambda: batch)

    def _read(self, objective: Objective, size: int) -> Any:
        return batch_to_device(objective.read(self._dataset, [self._row] * size), self._device)

    def _passed(
        self,
        model: PreparedModel,
        objective: Objective,
        meter: MemoryMeter,
        size: int,
        read: Callable[[], Any],
        *modes: Any,
    ) -> _Passed:
        found: list[NDArray[np.float64]] = []

        def note() -> None:
            found.append(np.asarray(meter.history, dtype=np.float64) - self.weights)
            meter.restart()

        def minibatch(_: Any) -> Any:
            note()
            batch = read()
            meter.hold([tensor for _, tensor in tensors(batch)])
            return batch

        meter.hold(_state(model.module))
        candidate = Candidate(lr=1.0, batch_size=size, accumulation_steps=2)
        with ExitStack() as stack:
            for mode in (*modes, meter):
                stack.enter_context(mode)
            # Plain SGD keeps nothing and needs nothing of its own: what optimizers do is added by arithmetic.
            Steps(model, objective, candidate).take(0.0, minibatch, np.arange(2 * size))
        note()
        _, first, later = found
        return _Passed(first=first, later=later)


Peaks = NDArray[np.float64]


def _measured(measure: Callable[[int], _Passed], smallest: int, largest: int, weights: int) -> dict[int, Peaks]:
    """Peaks at both ends and at sizes between, each twice the last; further in where the middle is not as expected."""
    passed = {size: measure(size) for size in sorted({smallest, largest})}
    found = {size: at.peaks() for size, at in passed.items()}
    spans = [(smallest, largest)]
    while spans:
        low, high = spans.pop(0)
        middle = (low + high) // 2
        if middle in (low, high):
            continue
        if len(passed) < MOST_SIZES:
            passed[middle] = measure(middle)
            found[middle] = passed[middle].peaks()
            expected = _expected(passed, low, high, middle)
            if bool((abs(expected - found[middle]) > AFFINE * (weights + found[middle])).any()):
                spans += [(low, middle), (middle, high)]
                continue
        for size in _doublings(low, high):
            found.setdefault(size, _expected(passed, low, high, size))
    return found


def _doublings(low: int, high: int) -> Iterator[int]:
    """Twice ``low``, twice that, and so on, below ``high``."""
    size = 2 * low
    while size < high:
        yield size
        size *= 2


def _expected(passed: Mapping[int, _Passed], low: int, high: int, size: int) -> Peaks:
    """The peaks at a size from what is alive after each operation at two others, or from their peaks alone."""
    share = (size - low) / (high - low)
    one, other = passed[low], passed[high]
    if not one.alike(other):
        return (1 - share) * one.peaks() + share * other.peaks()
    return _Passed(
        first=(1 - share) * one.first + share * other.first, later=(1 - share) * one.later + share * other.later
    ).peaks()


def _passes(found: Mapping[int, Peaks], column: int) -> tuple[PassMemory, ...]:
    return tuple(
        PassMemory(batch_size=size, first=int(found[size][0, column]), later=int(found[size][1, column]))
        for size in sorted(found)
    )


def _state(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


def _largest_sample(objective: Objective, dataset: Dataset[Any]) -> int:
    """The position of the sample with the most bytes among `LOOKED_AT`."""
    total = len(dataset)  # type: ignore[arg-type]
    places: list[int] = sorted({round(i) for i in np.linspace(0, total - 1, min(LOOKED_AT, total))})
    return max(places, key=lambda place: _bytes(objective.read(dataset, [place])))


def _bytes(batch: Any) -> int:
    return sum(int(tensor.numel() * tensor.element_size()) for _, tensor in tensors(batch))
