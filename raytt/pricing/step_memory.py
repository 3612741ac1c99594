"""The peak memory of a training step by configuration, and what to do where it does not fit a device.

Notation: W bytes of weights and buffers, G of gradients, g of the largest single gradient; s numbers a parameter that
the optimizer keeps (of a factored one s G stands for what rows and columns take), u those that its update needs
besides; V bytes of a moving average of the weights (W or 0); B samples of a minibatch on one device, A minibatches a
step. A step needs at most

    W + s G + V + max( F_1(B), F_2(B) if A > 1, G + U ),     U = u G where all are updated at once, else u g

F_1 is what the forward and the backward pass of a step's first minibatch need besides (activations, copies of weights
in another precision, gradients as they come, the minibatch), F_2 the same of each later one, while the gradients of the
earlier ones are there. Both are known at some batch sizes, and are straight lines between those. That is exact where
the network treats samples alike, but for one thing: which moment of a step is its peak may change with B, so that F is
the largest of several straight lines, and lines between known points lie above it.

Data-parallel training on n devices: each holds all of that for its share of the minibatch, ⌈B/n⌉, and the buckets in
which gradients travel, G more bytes (torch's DistributedDataParallel unless ``gradient_as_bucket_view``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from raytt.task.candidate import Candidate
from raytt.task.optimizers import Optimizer

LARGEST_BATCH = 1 << 20
"""Samples beyond which no larger batch is looked for."""


@dataclass(frozen=True, kw_only=True)
class PassMemory:
    """What forward and backward passes need at one batch size, bytes besides weights and optimizer state."""

    batch_size: int
    """B, samples per minibatch."""
    first: int
    """F_1(B)."""
    later: int
    """F_2(B), with the gradients of earlier minibatches."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What the peak of a step is made of, bytes."""

    weights: int
    """Weights and buffers."""
    state: int
    """Of the optimizer."""
    average: int
    """A moving average of the weights."""
    passes: int
    """Forward and backward pass: activations, gradients and all else that stands at the peak of a step."""
    buckets: int
    """Of data-parallel training."""

    @property
    def total(self) -> int:
        """The peak."""
        return self.weights + self.state + self.average + self.passes + self.buckets


@dataclass(frozen=True, kw_only=True)
class StepMemory:
    """What is known of the memory of a task's training steps."""

    weights: int
    """W, bytes."""
    gradients: int
    """G, bytes: those of all trainable parameters."""
    largest_gradient: int
    """g, bytes."""
    averaged: bool
    """Whether there is a moving average of the weights."""
    passes: Mapping[str, tuple[PassMemory, ...]]
    """By kind of processor, "cpu" or "cuda": at some batch sizes, increasing."""
    source: str
    """How it was found out, for the reader."""
    factors: int | None = None
    """Bytes of the means of gradients over each of their last two dimensions, and of those with one dimension or none
    as they are; None: not known, and as many as G."""

    def __post_init__(self) -> None:
        for known in self.passes.values():
            sizes = [p.batch_size for p in known]
            if not sizes or sizes != sorted(set(sizes)) or min(min(p.first, p.later) for p in known) < 0:
                raise ValueError(f"passes of {sizes} samples")

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and strings."""
        passes = {name: [asdict(known) for known in several] for name, several in self.passes.items()}
        return {**asdict(self), "passes": passes}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> StepMemory:
        """What `to_json` wrote."""
        passes = {name: tuple(PassMemory(**known) for known in several) for name, several in data["passes"].items()}
        return cls(**{**data, "passes": passes})

    def parts(self, candidate: Candidate, *, processor: str = "cuda", gpus: int = 1) -> Parts:
        """What the peak of a step of the candidate is made of, on each of its devices.

        Args:
            candidate: Optimizer, minibatches and accumulation count.
            processor: "cpu" or "cuda".
            gpus: Devices that share a minibatch.
        """
        optimizer, share = candidate.optimizer, -(-candidate.batch_size // gpus)
        known = self.passes[processor]
        needed = _between([(p.batch_size, p.first) for p in known], share)
        if candidate.accumulation_steps > 1:
            needed = max(needed, _between([(p.batch_size, p.later) for p in known], share))
        scratch = optimizer.scratch_numbers(together=False) * self.largest_gradient
        if processor == "cuda":
            scratch = max(scratch, optimizer.scratch_numbers(together=True) * self.gradients)
        return Parts(
            weights=self.weights,
            state=self._state(optimizer),
            average=self.weights if self.averaged else 0,
            passes=max(needed, self.gradients + scratch),
            buckets=self.gradients if gpus > 1 else 0,
        )

    def _state(self, optimizer: Optimizer) -> int:
        if optimizer.factored and self.factors is not None:
            return self.factors
        return optimizer.state_numbers * self.gradients

    def peak(self, candidate: Candidate, *, processor: str = "cuda", gpus: int = 1) -> int:
        """Most bytes of a device that a step of the candidate needs."""
        return self.parts(candidate, processor=processor, gpus=gpus).total

    def largest_batch(self, candidate: Candidate, usable: float, *, processor: str = "cuda", gpus: int = 1) -> int:
        """The largest minibatch with which the candidate's steps fit into ``usable`` bytes; 0 where none does.

        At most `LARGEST_BATCH`. Beyond the largest batch size that is known the last straight line goes on.
        """

        def fits(size: int) -> bool:
            return self.peak(replace(candidate, batch_size=size), processor=processor, gpus=gpus) <= usable

        if not fits(1):
            return 0
        low, high = 1, LARGEST_BATCH + 1
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if fits(middle) else (low, middle)
        return low


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Whether a configuration's steps fit a device, and what would."""

    peak: int
    """Bytes that they need on each device."""
    usable: float | None
    """Bytes that a device has for them; None where that is not known."""
    batch_size: int | None = None
    """Where they do not fit: the largest minibatch that does, of those into which the samples of a step can be cut
    evenly; None where none fits."""
    accumulation_steps: int | None = None
    """With how many such minibatches a step has as many samples as before."""

    @property
    def fits(self) -> bool | None:
        """Whether they do; None where it is not known."""
        return None if self.usable is None else self.peak <= self.usable


def fit(
    memory: StepMemory, candidate: Candidate, usable: float | None, *, processor: str = "cuda", gpus: int = 1
) -> Fit:
    """Hold a candidate against the memory of a device.

    Args:
        memory: Of the task's steps.
        candidate: What would train.
        usable: Bytes of each device; None where they are not known.
        processor: "cpu" or "cuda".
        gpus: Devices that share a minibatch.
    """
    peak = memory.peak(candidate, processor=processor, gpus=gpus)
    if usable is None or peak <= usable:
        return Fit(peak=peak, usable=usable)
    samples = candidate.samples_per_step
    for size in range(candidate.batch_size - 1, gpus - 1, -1):
        if samples % size == 0:
            smaller = replace(candidate, batch_size=size, accumulation_steps=samples // size)
            if memory.peak(smaller, processor=processor, gpus=gpus) <= usable:
                return Fit(peak=peak, usable=usable, batch_size=size, accumulation_steps=samples // size)
    return Fit(peak=peak, usable=usable)


def _between(points: list[tuple[int, int]], size: int) -> int:
    """The straight line between the neighbours of ``size``; the first and the last line go on, not below 0."""
    if len(points) == 1:
        # One size is known where no candidate has another; a smaller share of it needs no more.
        return points[0][1] if size <= points[0][0] else round(points[0][1] * size / points[0][0])
    place = next((i for i in range(1, len(points) - 1) if size <= points[i][0]), len(points) - 1)
    (low, at_low), (high, at_high) = points[place - 1], points[place]
    return max(0, round(at_low + (at_high - at_low) * (size - low) / (high - low)))
