"""What a solver records, when, and when a row needs no more steps.

Notation: M candidates, P sample paths, N training samples, T records. A row is one candidate on one path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raytt.dynamics.curves import Curves
from raytt.dynamics.tangent import Tangent
from raytt.task.losses import Loss
from raytt.task.target import Target

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

SPACING = 0.05
"""Steps between records, as a share of the steps done. Measured against a record at every step (4 paths, B = 8, with
and without momentum, 0.5 to 0.05 of the initial loss): 95 % of the median crossings move by less than 0.15 %; with
0.025 by less than 0.1 %, with 0.1 by 0.3 %."""
MEASURED_SPACING = 0.2
"""The same between records that are measured for every row (`raytt.dynamics.between`). A measurement evaluates all N
samples, as much work as N/(2B) steps where states are coordinates: with N = 500 and B = 32, most of the time. A loss
that dips below the target between two of them and climbs again has not arrived: so it is for whoever evaluates real
training now and then, as the record of accuracy does at 15 to 20 %. (234 candidates of the digits example, B = 32, one
path, to 0.1 of the initial loss: for most the same step as with every record measured, 7 % later in the mean.)"""
DIVERGENCE_RATIO = 1e6
"""A row whose loss exceeds this times its initial one has diverged, and is simulated no further.

This is not the bound of real training, which is 100 (`raytt.training.loop.DIVERGENCE_RATIO`) and ends runs whose steps
are expensive. A simulated step is cheap, and the linearized network can recover from a large loss, since its curvature
under squared loss is the same wherever it is: a row above 100 times its initial loss still falls once a schedule lowers
the learning rate. The bound only stops rows before their numbers overflow."""

_TINY = 1e-30
"""Stands for an initial loss of zero where a multiple of it is wanted."""


def record_steps(budgets: Sequence[int]) -> Ints:
    """Steps to record at: every step at first, then every `SPACING` of those done, and each candidate's last; shape
    (T,).
    """
    last = max(budgets)
    steps, step = {0, *budgets}, 0
    while step < last:
        steps.add(step)
        step += max(1, int(SPACING * step))
    return np.array(sorted(steps), dtype=np.int64)


def measured_records(steps: Ints, budgets: Sequence[int]) -> Flags:
    """Which of the records are measured for every row: the first, each candidate's last, and between them the latest
    within `MEASURED_SPACING` of the steps done; shape (T,).
    """
    measured = np.isin(steps, [0, *budgets])
    due = 0
    for record, step in enumerate(steps):
        following = steps[record + 1] if record + 1 < len(steps) else step
        if measured[record] or following > due:
            measured[record] = True
            due = step + max(1, int(MEASURED_SPACING * step))
    return measured


@dataclass(frozen=True, kw_only=True, eq=False)
class Measurements:
    """What is recorded of k rows at one moment; +inf and 0 for rows that diverged, never NaN."""

    train_loss: Floats
    """Shape (k,)."""
    train_loss_resampled: Floats
    """With the bootstrap weights of each row's path, shape (k,)."""
    train_accuracy: Floats | None
    """Shape (k,)."""
    held_loss: Floats | None
    """Shape (k,)."""
    held_accuracy: Floats | None
    """Shape (k,)."""
    val_loss: Floats | None
    """Shape (k,)."""
    val_accuracy: Floats | None
    """Shape (k,)."""

    def of(self, rows: Flags) -> Measurements:
        """Those of some rows."""
        known = {f.name: values for f in fields(self) if (values := getattr(self, f.name)) is not None}
        return replace(self, **{name: values[rows] for name, values in known.items()})

    @classmethod
    def join(cls, parts: Sequence[Measurements]) -> Measurements:
        """Those of several groups of rows, one after the other."""
        known = [f.name for f in fields(cls) if getattr(parts[0], f.name) is not None]
        return replace(parts[0], **{name: np.concatenate([getattr(p, name) for p in parts]) for name in known})

    def blend(self, other: Measurements, rows: Ints, weight: Floats) -> Measurements:
        """Those of ``rows``, ``weight`` ∈ (0, 1] of the way to ``other``: losses logarithmically, accuracies
        linearly.
        """
        return Measurements(
            train_loss=_between(self.train_loss, other.train_loss, rows, weight),
            train_loss_resampled=_between(self.train_loss_resampled, other.train_loss_resampled, rows, weight),
            train_accuracy=_optional(self.train_accuracy, other.train_accuracy, rows, weight, logarithmic=False),
            held_loss=_optional(self.held_loss, other.held_loss, rows, weight),
            held_accuracy=_optional(self.held_accuracy, other.held_accuracy, rows, weight, logarithmic=False),
            val_loss=_optional(self.val_loss, other.val_loss, rows, weight),
            val_accuracy=_optional(self.val_accuracy, other.val_accuracy, rows, weight, logarithmic=False),
        )


def _between(start: Floats, end: Floats, rows: Ints, weight: Floats, *, logarithmic: bool = True) -> Floats:
    a, b = start[rows], end[rows]
    gone = ~(np.isfinite(a) & np.isfinite(b))
    a, b = np.where(gone, 1.0, a), np.where(gone, 1.0, b)
    between = (1.0 - weight) * a + weight * b
    if logarithmic:
        positive = (a > 0) & (b > 0)  # a custom loss need not be: it goes straight
        logs = [np.log(np.where(positive, x, 1.0)) for x in (a, b)]
        between = np.where(positive, np.exp((1.0 - weight) * logs[0] + weight * logs[1]), between)
    return np.where(gone, np.inf, between)


def _optional(
    start: Floats | None, end: Floats | None, rows: Ints, weight: Floats, *, logarithmic: bool = True
) -> Floats | None:
    return None if start is None or end is None else _between(start, end, rows, weight, logarithmic=logarithmic)


class Recorder:
    """Collects the curves of M candidates on P paths, and says which rows are finished."""

    def __init__(
        self,
        *,
        tangent: Tangent,
        loss: Loss,
        steps: Ints,
        candidates: int,
        weights: Floats,
        target: Target | None,
        measured: Flags | None = None,
        members: Flags | None = None,
    ) -> None:
        """Collect from step 0.

        Args:
            tangent: The simplified network, for the samples' targets.
            loss: On outputs.
            steps: To record at, shape (T,).
            candidates: M.
            weights: Bootstrap weights of each path, shape (P, N).
            target: Where rows need no more steps.
            measured: Which records are measured for every row, shape (T,); None: all.
            members: Which samples each path trains on, shape (P, N); None: all.
        """
        self.steps = steps
        self.measured = np.ones(len(steps), dtype=bool) if measured is None else measured
        self._loss, self._target = loss, None if target is None or target.settles else target
        self._train_targets = tangent.train.targets
        self._val_targets = None if tangent.validation is None else tangent.validation.targets
        outputs = tangent.train.outputs
        self._weights = torch.as_tensor(weights, dtype=outputs.dtype, device=outputs.device)
        self._shares = None if members is None else _shares(members, like=outputs)
        shape = (candidates, len(weights), len(steps))
        known = loss.correct(outputs, tangent.train.targets) is not None
        recorded = {
            "train_loss": True,
            "train_loss_resampled": True,
            "train_accuracy": known,
            "held_loss": members is not None,
            "held_accuracy": members is not None and known,
            "val_loss": self._val_targets is not None,
            "val_accuracy": self._val_targets is not None and known,
        }
        self._curves = {name: np.zeros(shape) for name, wanted in recorded.items() if wanted}
        self._last = np.zeros(shape[:2], dtype=np.int64)
        self._reached = {name: np.zeros(shape[:2], dtype=bool) for name in ("train_loss", "train_loss_resampled")}

    def measure(self, outputs: Tensor, val_outputs: Tensor | None, paths: int | Tensor) -> Measurements:
        """Losses and accuracies of rows with outputs ``(k, N, C)`` and ``(k, N_v, C)`` on one path or on one path
        each.
        """
        values = self._loss.value(outputs, self._train_targets)
        weights = self._weights[paths]
        resampled = values @ weights if weights.ndim == 1 else (values * weights).sum(dim=1)
        correct = self._loss.correct(outputs, self._train_targets)
        if self._shares is None:
            train_loss, train_accuracy = values.mean(dim=1), _mean_of(correct)
            held_loss = held_accuracy = None
        else:
            inside, outside = (share[paths] for share in self._shares)
            train_loss, train_accuracy = (values * inside).sum(dim=-1), _mean_of(correct, inside)
            held_loss, held_accuracy = _finite((values * outside).sum(dim=-1)), _mean_of(correct, outside)
        val_loss = val_accuracy = None
        if val_outputs is not None and self._val_targets is not None:
            val_loss = _finite(self._loss.value(val_outputs, self._val_targets).mean(dim=1))
            val_accuracy = _mean_of(self._loss.correct(val_outputs, self._val_targets))
        return Measurements(
            train_loss=_finite(train_loss),
            train_loss_resampled=_finite(resampled),
            train_accuracy=train_accuracy,
            held_loss=held_loss,
            held_accuracy=held_accuracy,
            val_loss=val_loss,
            val_accuracy=val_accuracy,
        )

    def store(self, record: Ints | int, rows: Ints, paths: Ints, found: Measurements) -> Flags:
        """Keep what was measured of rows (candidate, path) at a record; returns which rows need no more steps, shape
        (k,).

        Finished are rows that diverged, and rows that have met the target with their training loss and with its
        bootstrap resample, not necessarily at the same record.
        """
        diverged = self._diverged(rows, paths, found, first=not np.any(record))
        for name, curve in self._curves.items():
            curve[rows, paths, record] = np.where(diverged, np.inf if "loss" in name else 0.0, getattr(found, name))
        self._last[rows, paths] = record
        if self._target is None:
            return diverged
        for name, flags in self._reached.items():
            # A row may be here with several records at once.
            np.logical_or.at(flags, (rows, paths), self._arrived(name, rows, paths, found) & ~diverged)
        reached_both = self._reached["train_loss"] & self._reached["train_loss_resampled"]
        return np.asarray(diverged | reached_both[rows, paths])

    def eventful(self, rows: Ints, paths: Ints, found: Measurements) -> Flags:
        """Which rows, by what was measured of them after their last record, have diverged or met the target since."""
        events = self._diverged(rows, paths, found)
        if self._target is not None:
            for name, flags in self._reached.items():
                events |= self._arrived(name, rows, paths, found) & ~flags[rows, paths]
        return events

    def _diverged(self, rows: Ints, paths: Ints, found: Measurements, *, first: bool = False) -> Flags:
        initial = found.train_loss if first else self._curves["train_loss"][rows, paths, 0]
        return np.asarray(
            ~np.isfinite(found.train_loss) | (found.train_loss > DIVERGENCE_RATIO * np.maximum(initial, _TINY))
        )

    def _arrived(self, name: str, rows: Ints, paths: Ints, found: Measurements) -> Flags:
        """Whether rows are at the target, by their training loss or its resample."""
        assert self._target is not None
        own = "val_loss" if self._target.needs_validation and self._target.relative else name
        return np.asarray(
            self._target.distance(
                train_loss=getattr(found, name),
                initial_loss=self._curves[own][rows, paths, 0],
                train_accuracy=found.train_accuracy,
                val_loss=found.val_loss,
                val_accuracy=found.val_accuracy,
            )
            <= 0.0
        )

    def give_up(self, candidate: int, after: int) -> None:
        """Let all paths of a candidate that got to step ``after`` have diverged at the first record behind it."""
        record = int(np.searchsorted(self.steps, after, side="right"))
        for name, curve in self._curves.items():
            curve[candidate, :, record:] = np.inf if "loss" in name else 0.0
        last = self._last[candidate]
        self._last[candidate] = np.where(last >= record - 1, record, last)

    def curves(self) -> Curves:
        """All curves; each row repeats its last value to the end."""
        upto = np.minimum(np.arange(len(self.steps)), self._last[..., None])
        filled = {name: np.take_along_axis(curve, upto, axis=2) for name, curve in self._curves.items()}
        return Curves(
            steps=self.steps.astype(np.float64),
            steps_done=self.steps[self._last.max(axis=1)].astype(np.int64),
            **filled,
        )


def _shares(members: Flags, like: Tensor) -> tuple[Tensor, Tensor]:
    """Weights of a mean over each path's own samples and over the others, shape (P, N) each."""
    found = []
    for chosen in (members, ~members):
        weights = chosen / np.maximum(chosen.sum(axis=1, keepdims=True), 1)
        found.append(torch.as_tensor(weights, dtype=like.dtype, device=like.device))
    return found[0], found[1]


def _mean_of(correct: Tensor | None, weights: Tensor | None = None) -> Floats | None:
    if correct is None:
        return None
    values = correct.to(torch.float64)
    mean = values.mean(dim=1) if weights is None else (values * weights).sum(dim=-1)
    return np.asarray(mean.cpu().numpy())


def _finite(values: Tensor) -> Floats:
    """As float64 on the host, +inf where not a number or infinite."""
    found = values.to(torch.float64).cpu().numpy()
    return np.where(np.isfinite(found), found, np.inf)
