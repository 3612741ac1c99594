"""Candidates ranked by their learning curves, as data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from raytt.forecast.curves.similarity import Hyperparameter
from raytt.task.candidate import written


@dataclass(frozen=True, kw_only=True)
class CurveRow:
    """A candidate, as far as the curves tell."""

    run: str | None
    """Its name; None where the file names none."""
    config: dict[str, Hyperparameter]
    """Its hyperparameters."""
    evaluations: int
    """It has had."""
    last: float | None
    """The metric after the last of them; None before the first."""
    final: float | None
    """Median of the final metric if the run does not fail; None of one that ended before it had a metric."""
    low: float | None
    """5 % quantile of the same."""
    high: float | None
    """95 % quantile of the same."""
    failing: float
    """Probability that the run fails with its first evaluations; 1 of one that did."""

    @property
    def label(self) -> str:
        """The run and its hyperparameters in words."""
        words = ", ".join(f"{name} {written(value)}" for name, value in self.config.items())
        return ": ".join(part for part in (self.run, words) if part)


@dataclass(frozen=True, kw_only=True)
class CurveTable:
    """Candidates in the order of their expected final metric."""

    metric: str
    """What is compared."""
    maximize: bool
    """Whether more of it is better."""
    clock: str
    """What steps are counted in, such as "epoch"."""
    budget: float
    """Where a whole run ends, in that unit."""
    evaluations: int
    """Of a whole run."""
    rows: tuple[CurveRow, ...]
    """The best first."""
    next: tuple[int, ...]
    """Places in `rows` whose next evaluation tells most about the ranking per second, the first first."""

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and strings; ranks count from 1."""
        return {
            **{k: v for k, v in asdict(self).items() if k not in ("rows", "next")},
            "candidates": [{"rank": rank, **asdict(row)} for rank, row in enumerate(self.rows, start=1)],
            "next": [place + 1 for place in self.next],
        }
