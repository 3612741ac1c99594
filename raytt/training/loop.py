"""Real training with torch's own optimizers, step by step as it is simulated: what forecasts are measured against."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from raytt.errors import InputError
from raytt.task.candidate import Candidate
from raytt.task.losses import Loss, as_loss
from raytt.task.minibatches import check_batch_size, iterate_minibatches
from raytt.task.task import Task
from raytt.training.datasets import Split, open_dataset
from raytt.training.model import PreparedModel, prepare_model
from raytt.training.objective import Objective
from raytt.training.steps import Steps

EVAL_BATCH_SIZE = 64
"""Samples per batch when losses are evaluated without gradients."""
DIVERGENCE_RATIO = 100.0
"""A run whose loss exceeds this times its initial one counts as diverged and is stopped, as its further steps would
cost what all steps do. Simulated runs are followed further, see `raytt.dynamics.recording.DIVERGENCE_RATIO`."""

Floats = NDArray[np.float64]
Positions = Sequence[int] | NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingCurve:
    """What one real training run did, recorded at T steps.

    A run that diverged holds +inf in the losses and 0 in the accuracies from there to the last step asked for. One that
    was stopped at its target ends there. A network that collapses to constant outputs has not diverged: its loss stays.
    """

    steps: NDArray[np.int64]
    """Optimizer steps done at each record, shape (T,), increasing from 0."""
    train_loss: Floats
    """Mean training loss, shape (T,)."""
    train_accuracy: Floats | None
    """Shape (T,), in [0, 1]; None where the loss has no notion of a correct answer."""
    val_loss: Floats | None
    """Mean validation loss, shape (T,); None without validation data."""
    val_accuracy: Floats | None
    """Shape (T,), in [0, 1]; None without validation data or a notion of a correct answer."""
    seconds_per_step: float
    """Median wall-clock time of a step (batch from memory, forward, backward, update; no evaluation), seconds."""
    diverged: bool
    """Whether a loss was NaN, infinite, or above `DIVERGENCE_RATIO` × the initial one."""

    def __post_init__(self) -> None:
        for name in ("train_loss", "train_accuracy", "val_loss", "val_accuracy"):
            curve = getattr(self, name)
            if curve is not None and (curve.shape != self.steps.shape or bool(np.isnan(curve).any())):
                raise ValueError(f"{name} has shape {curve.shape} for {self.steps.shape} records, or holds NaN")


def record_points(steps: int, *, count: int = 40) -> NDArray[np.int64]:
    """At most ``count`` ≥ 3 steps from 0 to ``steps``, both included, in nearly equal ratios."""
    spread = np.round(np.geomspace(1, max(steps, 1), count - 1)).astype(np.int64)
    return np.unique(np.concatenate([[0], spread[spread <= steps], [steps]])).astype(np.int64)


def train(
    task: Task,
    candidate: Candidate,
    *,
    seed: int,
    steps: int,
    record_at: Positions | None = None,
    schedule_steps: int | None = None,
    train_index: Positions | None = None,
    eval_index: Positions | None = None,
    val_index: Positions | None = None,
    stop_at_loss_ratio: float | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    on_step: Callable[[int, float, PreparedModel], None] | None = None,
) -> TrainingCurve:
    """Train from the pre-trained weights and record losses and accuracies.

    Step t = 0, 1, … takes row t of `raytt.task.minibatches.minibatches` with the learning rate lr · schedule(t). Norms
    and dropout stay in the mode in which the network is probed. Same arguments and number of threads, same bits.

    Args:
        task: What is trained.
        candidate: How it is trained.
        seed: Of the minibatches.
        steps: Most steps to take.
        record_at: Numbers of steps after which to record, in 0…steps (0 is always added); None takes `record_points`.
        schedule_steps: Length T of the learning-rate schedule, at least ``steps``; None means ``steps``.
        train_index: Positions in the training data to train on; None means all.
        eval_index: Positions in the training data on which the training loss is evaluated; None means ``train_index``.
        val_index: Positions in the validation data to evaluate; None means all.
        stop_at_loss_ratio: Stop at the first record whose training loss is at most this times the initial one.
        device: Where to train.
        dtype: Floating type of weights and inputs; None leaves them as they are.
        on_step: Called as ``on_step(t, loss, model)`` once t updates are done, t = 0, 1, …, with the minibatch loss
            from which update t was computed (for t = 0 the initial mean training loss). It may read the model, not
            change it.

    Raises:
        InputError: If the batch size exceeds the samples, a step to record lies outside 0…steps, the schedule is
            shorter than ``steps``, or the data or the network cannot be used.
    """
    due = _record_steps(record_at, steps)
    rates = candidate.learning_rates(_schedule_length(schedule_steps, steps))
    loss = as_loss(task.loss)
    dataset = open_dataset(task.data, task)
    fit = Split(task, dataset, train_index, device=device, dtype=dtype)
    check_batch_size(len(fit), candidate.samples_per_step)
    model = prepare_model(task, device=device)
    if dtype is not None:
        model.module.to(dtype=dtype)
    measured = fit if eval_index is None else Split(task, dataset, eval_index, device=device, dtype=dtype)
    validation = None
    if task.validation is not None:
        validation = Split(task, open_dataset(task.validation, task), val_index, device=device, dtype=dtype)
    recorder = _Recorder(model, loss, measured, validation)
    updates = Steps(model, Objective(task), candidate)
    seconds: list[float] = []
    first = recorder.record(0)
    if not np.isfinite(first):
        raise InputError(
            "The training loss is not finite at the pre-trained weights.", "Check the weights and the loss function."
        )
    if on_step is not None:
        on_step(0, first, model)
    diverged = False
    drawn = iterate_minibatches(len(fit), candidate.samples_per_step, seed, stop=steps)
    for done, rows in enumerate(drawn, start=1):
        start = time.perf_counter()
        latest = updates.take(float(rates[done - 1]), fit.batch, rows)
        seconds.append(time.perf_counter() - start)
        if on_step is not None:
            on_step(done, latest, model)
        recorded = recorder.record(done) if done in due and latest <= DIVERGENCE_RATIO * first else None
        # Written so that NaN counts as diverged.
        diverged = not (latest if recorded is None else recorded) <= DIVERGENCE_RATIO * first
        if diverged:
            recorder.give_up([step for step in due if step >= done])
            break
        if recorded is not None and stop_at_loss_ratio is not None and recorded <= stop_at_loss_ratio * first:
            break
    return recorder.curve(seconds_per_step=float(np.median(seconds)) if seconds else 0.0, diverged=diverged)


@torch.no_grad()
def evaluate(model: PreparedModel, loss: Loss, split: Split) -> tuple[float, float | None]:
    """Mean loss (+inf where it is not a number) and accuracy (None without a notion of a correct answer)."""
    total, correct, counted = 0.0, 0, False
    for inputs, targets in split.batches(EVAL_BATCH_SIZE):
        outputs = model.forward(model.module, inputs)
        total += float(loss.value(outputs, targets).to(torch.float64).sum())
        right = loss.correct(outputs, targets)
        if right is not None:
            counted = True
            correct += int(right.sum())
    mean = total / len(split)
    return (mean if mean < np.inf else np.inf), (correct / len(split) if counted else None)


class _Recorder:
    """Collects the records of a run."""

    def __init__(self, model: PreparedModel, loss: Loss, train: Split, validation: Split | None) -> None:
        self._model, self._loss, self._train, self._validation = model, loss, train, validation
        self._steps: list[int] = []
        self._train_records: list[tuple[float, float | None]] = []
        self._val_records: list[tuple[float, float | None]] = []

    def record(self, step: int) -> float:
        """Evaluate the network as it is after ``step`` updates; returns the mean training loss."""
        self._steps.append(step)
        self._train_records.append(evaluate(self._model, self._loss, self._train))
        if self._validation is not None:
            self._val_records.append(evaluate(self._model, self._loss, self._validation))
        return self._train_records[-1][0]

    def give_up(self, steps: Iterable[int]) -> None:
        """Fill the records at ``steps`` (over any already made there) with what a diverged run holds."""
        for step in steps:
            if self._steps[-1] == step:
                self._steps.pop()
                self._train_records.pop()
                self._val_records = self._val_records[: len(self._steps)]
            self._steps.append(step)
            for records in [self._train_records] + ([self._val_records] if self._validation is not None else []):
                records.append((np.inf, None if records[0][1] is None else 0.0))

    def curve(self, *, seconds_per_step: float, diverged: bool) -> TrainingCurve:
        train_loss, train_accuracy = _columns(self._train_records)
        val_loss, val_accuracy = _columns(self._val_records)
        assert train_loss is not None
        return TrainingCurve(
            steps=np.asarray(self._steps, dtype=np.int64),
            train_loss=train_loss,
            train_accuracy=train_accuracy,
            val_loss=val_loss,
            val_accuracy=val_accuracy,
            seconds_per_step=seconds_per_step,
            diverged=diverged,
        )


def _columns(records: list[tuple[float, float | None]]) -> tuple[Floats | None, Floats | None]:
    if not records:
        return None, None
    accuracies = [accuracy for _, accuracy in records if accuracy is not None]
    return np.asarray([loss for loss, _ in records]), np.asarray(accuracies) if accuracies else None


def _record_steps(record_at: Positions | None, steps: int) -> list[int]:
    if steps < 0:
        raise InputError(f"steps is {steps}.", "Give a number of steps of at least 0.")
    if record_at is None:
        return [int(step) for step in record_points(steps)]
    due = sorted({0, *(int(step) for step in record_at)})
    if due[0] < 0 or due[-1] > steps:
        raise InputError(
            f"record_at runs from {due[0]} to {due[-1]}, but the run takes {steps} steps.",
            f"Give steps in 0…{steps}.",
        )
    return due


def _schedule_length(schedule_steps: int | None, steps: int) -> int:
    if schedule_steps is None:
        return steps
    if schedule_steps < steps:
        raise InputError(
            f"schedule_steps is {schedule_steps}, fewer than the {steps} steps of the run.",
            "Give the candidate's whole budget of steps.",
        )
    return schedule_steps
