"""The best quality within a budget of time or money, and the front of time against quality.

A run may be ended before its budget is: after s steps it has taken s times the seconds of a step, and has what the
predicted curve says of s. So every configuration offers many pairs of time and quality, on each machine, and

    best within (D, U):  the best value over all pairs with time ≤ D and cost ≤ U,
    front:               pairs to which no other is both at least as fast and better.

Values are medians. Between the steps that are kept of a curve it is linear.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from raytt.forecast.final_quality import Checkpoint, Estimate
from raytt.pricing.machine import Machine
from raytt.pricing.step_key import step_key
from raytt.pricing.terms import Terms
from raytt.results.entry import Entry
from raytt.task.rank_objective import RankObjective


@dataclass(frozen=True, kw_only=True)
class QualityPoint:
    """A configuration, trained on a machine up to some step."""

    entry: Entry
    """The configuration with its final quality."""
    machine: Machine
    """Where it trains."""
    step: float
    """Steps taken."""
    estimate: Estimate
    """The objective there."""
    seconds: float
    """What the steps take."""
    usd: float | None
    """What they cost; None without a price."""

    @property
    def ends(self) -> bool:
        """Whether the run is trained to its end."""
        return self.entry.quality is not None and self.step >= self.entry.quality.steps

    @property
    def trusted(self) -> bool:
        """Whether its quality is."""
        return self.entry.quality is not None and self.entry.quality.trusted


@dataclass(frozen=True, kw_only=True)
class QualityChoice:
    """The answer to "what is the best I can have, and by when?"."""

    objective: RankObjective
    """What is to be good."""
    terms: Terms
    """Machines, deadline and budget."""
    best: QualityPoint | None
    """The best within deadline and budget, else of all; of equal ones the fastest. None where nothing fits."""
    front: tuple[QualityPoint, ...]
    """Fastest first; without the untrusted unless all are."""
    ends: tuple[QualityPoint, ...]
    """Every configuration at the end of its run, on every machine."""


def choose_quality(
    entries: Sequence[Entry], machines: Sequence[Machine], terms: Terms, objective: RankObjective
) -> QualityChoice:
    """Choose among all configurations × machines × steps. Untrusted ones are chosen only where there is no other.

    Args:
        entries: With their qualities, whose progress is that of ``objective``.
        machines: With step times for their batch sizes.
        terms: Deadline and budget.
        objective: What the progress is of.
    """
    points = [p for e in entries for m in machines for p in _points(e, m)]
    bounded = [p for e in entries for m in machines for p in _within(e, m, terms)]
    fitting = [p for p in bounded if p.trusted] or bounded
    return QualityChoice(
        objective=objective,
        terms=terms,
        best=min(fitting, key=lambda p: _by_value(p, objective), default=None),
        front=_front([p for p in points if p.trusted] or points, objective),
        ends=tuple(p for e in entries for m in machines if (p := _end(e, m, objective)) is not None),
    )


def _points(entry: Entry, machine: Machine) -> Iterable[QualityPoint]:
    quality = entry.quality
    if quality is None:
        return []
    return [_point(entry, machine, checkpoint) for checkpoint in quality.progress if _timed(entry, machine)]


def _end(entry: Entry, machine: Machine, objective: RankObjective) -> QualityPoint | None:
    """A run to its end, with what its kept weights have."""
    estimate = None if entry.quality is None else entry.quality.of(objective.name)
    if entry.quality is None or estimate is None or not _timed(entry, machine):
        return None
    return _point(entry, machine, Checkpoint(step=entry.quality.steps, estimate=estimate))


def _timed(entry: Entry, machine: Machine) -> bool:
    return machine.step_times.get(step_key(entry.candidate)) is not None


def _point(entry: Entry, machine: Machine, checkpoint: Checkpoint) -> QualityPoint:
    seconds = checkpoint.step * _step_seconds(entry, machine)
    price = machine.usd_per_hour
    return QualityPoint(
        entry=entry,
        machine=machine,
        step=checkpoint.step,
        estimate=checkpoint.estimate,
        seconds=seconds,
        usd=None if price is None else seconds / 3600.0 * price,
    )


def _step_seconds(entry: Entry, machine: Machine) -> float:
    candidate = entry.candidate
    return machine.step_times[step_key(candidate)].repeated(candidate.accumulation_steps).seconds


def _within(entry: Entry, machine: Machine, terms: Terms) -> list[QualityPoint]:
    """What fits, among it the last step that does."""
    quality, price = entry.quality, machine.usd_per_hour
    if quality is None or not quality.progress or not _timed(entry, machine):
        return []
    if terms.budget_usd is not None and price is None:
        return []
    bound = math.inf if terms.deadline is None else terms.deadline
    if terms.budget_usd is not None and price:
        bound = min(bound, terms.budget_usd / price * 3600.0)
    most = math.floor(bound / _step_seconds(entry, machine) * (1.0 + 1e-12)) if math.isfinite(bound) else math.inf
    found = [checkpoint for checkpoint in quality.progress if checkpoint.step <= most]
    if found and most < quality.progress[-1].step and found[-1].step < most:
        found.append(_between(quality.progress, float(most)))
    return [_point(entry, machine, checkpoint) for checkpoint in found]


def _between(progress: Sequence[Checkpoint], step: float) -> Checkpoint:
    at = [point.step for point in progress]
    numbers = [(p.estimate.value, p.estimate.low, p.estimate.high) for p in progress]
    value, low, high = (float(np.interp(step, at, column)) for column in zip(*numbers, strict=True))
    return Checkpoint(step=step, estimate=Estimate(value=value, low=low, high=high))


def _by_value(point: QualityPoint, objective: RankObjective) -> tuple[float, float, int]:
    return (objective.sign * point.estimate.value, point.seconds, point.entry.rank)


def _front(points: Sequence[QualityPoint], objective: RankObjective) -> tuple[QualityPoint, ...]:
    front: list[QualityPoint] = []
    for point in sorted(points, key=lambda p: (p.seconds, _by_value(p, objective))):
        if not front or objective.sign * point.estimate.value < objective.sign * front[-1].estimate.value:
            front.append(point)
    return tuple(front)
