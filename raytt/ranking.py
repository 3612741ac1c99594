"""Candidates in the order of what they cost to reach the target."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from raytt.candidates import Candidate
from raytt.errors import StoreError
from raytt.files import write_json
from raytt.forecast import Forecast, Status
from raytt.pricing.machine import Timing
from raytt.pricing.quote import Quote, quote
from raytt.pricing.terms import Terms
from raytt.target import Target

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import RenderableType

    from raytt.decisions import Decision

_MISSED_ORDER = (Status.NOISE_FLOOR, Status.NOT_REACHED, Status.UNSTABLE)


class StepSeconds(Protocol):
    """What a step time must know, see `raytt.pricing.step_time.StepTime`."""

    @property
    def seconds(self) -> float:
        """Seconds per step."""

    @property
    def low(self) -> float:
        """Lower end of its interval, seconds."""

    @property
    def high(self) -> float:
        """Upper end of its interval, seconds."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One candidate in a ranking."""

    rank: int
    """1 for the cheapest."""
    candidate: Candidate
    """The configuration."""
    forecast: Forecast
    """What is predicted to happen to it."""
    budget: int
    """Steps it may take."""
    budget_seconds: float
    """What the whole budget takes, seconds."""
    epochs: float | None
    """Predicted steps in passes over the whole training set; None unless it reaches the target."""
    quote: Quote | None
    """What the predicted steps take and cost; None unless it reaches the target."""

    @property
    def seconds(self) -> float | None:
        """Predicted training time to the target, seconds; None unless it reaches the target."""
        return None if self.quote is None else self.quote.seconds

    @property
    def usd(self) -> float | None:
        """Predicted cost, US dollars; None without a price, or unless it reaches the target."""
        return None if self.quote is None else self.quote.usd

    @property
    def replaced_seconds(self) -> float:
        """Training time that trying it would have taken, seconds.

        To the target; the whole budget where it is missed; nothing where training diverges, which shows early.
        """
        if self.quote is not None:
            return self.quote.seconds
        return 0.0 if self.forecast.status is Status.UNSTABLE else self.budget_seconds


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """The numbers behind a ranking; None where not known."""

    num_samples: int | None = None
    """N, training samples probed."""
    num_samples_full: int | None = None
    """N_full, samples of the whole training set."""
    num_outputs: int | None = None
    """C, outputs of the network."""
    num_trainable: int | None = None
    """D, trainable parameters."""
    proj_dim: int | None = None
    """R, sketch dimension."""
    seed: int | None = None
    """From which everything random is derived."""
    num_paths: int | None = None
    """P, simulated sample paths per candidate."""
    initial_loss: float | None = None
    """Mean training loss at the pre-trained weights."""
    stability_limit: float | None = None
    """Learning rate at which plain SGD on all samples becomes unstable at the pre-trained weights."""
    usd_per_hour: float | None = None
    """Price of the training machine, US dollars per hour."""
    machine: str | None = None
    """Name of that machine: the candidates are ranked by their times and costs on it."""
    step_seconds: Mapping[int, float] = field(default_factory=dict)
    """Seconds per training step by batch size."""
    step_source: str | None = None
    """How the step times were obtained."""


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Candidates by predicted cost, and what finding that out took."""

    task: str
    """Name of the task."""
    method: str
    """Solver of the dynamics: 'sgd' or 'sde'."""
    target: Target
    """The event whose step is predicted."""
    entries: tuple[Entry, ...]
    """All candidates, cheapest first."""
    phases: Mapping[str, float] = field(default_factory=dict)
    """Seconds that each phase of the run took, in order."""
    notes: tuple[str, ...] = ()
    """What the user must know: sentences."""
    provenance: Provenance = field(default_factory=Provenance)
    """The numbers behind it."""
    timing: Timing = field(default_factory=Timing)
    """What is known of a training step, from which other machines are priced."""
    terms: Terms = field(default_factory=Terms)
    """Machines, budget and deadline that were asked for; costs are those of the first machine."""

    @property
    def best(self) -> Entry | None:
        """The cheapest candidate that reaches the target; None if none does."""
        return self.entries[0] if self.entries and self.entries[0].forecast.reaches else None

    @property
    def total_seconds(self) -> float:
        """What the run of raytt took, seconds."""
        return sum(self.phases.values())

    @property
    def replaced_seconds(self) -> float:
        """Training time that trying all candidates would have taken (see `Entry.replaced_seconds`), seconds."""
        return sum(entry.replaced_seconds for entry in self.entries)

    @property
    def saving(self) -> float | None:
        """Training time of all candidates over raytt's own time; None where that is not known."""
        saving = self.replaced_seconds / self.total_seconds if self.total_seconds > 0.0 else math.inf
        return saving if math.isfinite(saving) else None

    def to_json(self) -> dict[str, Any]:
        """Everything as plain numbers, strings and None, as `save` writes it; no number is NaN or infinite."""
        from raytt.report.document import to_json

        return to_json(self)

    def save(self, path: str | Path) -> None:
        """Write JSON, replacing the file as a whole.

        Raises:
            StoreError: If the file cannot be written.
        """
        write_json(path, self.to_json())

    @classmethod
    def load(cls, path: str | Path) -> Ranking:
        """Read what `save` wrote.

        Raises:
            StoreError: If the file cannot be read or is not a ranking.
        """
        from raytt.report.document import from_json

        try:
            return from_json(json.loads(Path(path).read_text(encoding="utf-8")))
        except OSError as error:
            raise StoreError(f"Cannot read {path}: {error.strerror or error}.") from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise StoreError(f"{path} is not a ranking that raytt wrote ({type(error).__name__}: {error}).") from error

    def to_pandas(self) -> pd.DataFrame:
        """One row per candidate: rank, every hyperparameter, and the numbers of `to_json`."""
        import pandas as pd

        return pd.DataFrame(
            [
                {"rank": entry.rank, **asdict(entry.candidate), **{k: v for k, v in numbers.items() if k != "config"}}
                for entry, numbers in zip(self.entries, self.to_json()["candidates"], strict=True)
            ]
        )

    def decide(self, terms: Terms | None = None) -> Decision:
        """What to train and where, by the terms of the run or by others; nothing is computed again."""
        from raytt.decisions import decide_for

        return decide_for(self, terms or self.terms)

    def _repr_html_(self) -> str:
        """For notebooks."""
        from raytt.report.rows import fragment

        return fragment(self)

    def __rich__(self) -> RenderableType:
        from raytt.report.terminal import render

        return render(self)

    def __str__(self) -> str:
        from raytt.report.terminal import plain

        return plain(self)


def rank_candidates(
    candidates: Sequence[Candidate],
    forecasts: Sequence[Forecast],
    *,
    budgets: Sequence[int],
    step_times: Mapping[int, StepSeconds],
    num_samples_full: int,
    usd_per_hour: float | None = None,
) -> tuple[Entry, ...]:
    """Entries in order of predicted cost; the order in which the candidates are given does not matter.

    Those that reach the target come first, by seconds (hence by dollars: all run on one machine), then by steps; after
    them those of which that is predicted but not to be trusted, in the same order. Then those held up by noise, those
    not there yet, and those that diverge, each by what is missing to the target. The rest of a tie is settled by
    `Candidate.sort_key`.

    Args:
        candidates: M configurations.
        forecasts: One each.
        budgets: Steps each may take.
        step_times: Seconds per step by batch size; one for every batch size among the candidates.
        num_samples_full: N_full, for epochs.
        usd_per_hour: Price of the training machine.
    """
    entries = [
        _entry(candidate, forecast, budget, step_times[candidate.batch_size], num_samples_full, usd_per_hour)
        for candidate, forecast, budget in zip(candidates, forecasts, budgets, strict=True)
    ]
    return tuple(replace(entry, rank=rank) for rank, entry in enumerate(sorted(entries, key=_order), start=1))


def _entry(
    candidate: Candidate,
    forecast: Forecast,
    budget: int,
    step_time: StepSeconds,
    num_samples_full: int,
    usd_per_hour: float | None,
) -> Entry:
    steps = forecast.steps
    priced = steps is not None and quote(
        steps,
        seconds_per_step=step_time.seconds,
        steps_interval=(forecast.low, forecast.high),
        seconds_per_step_interval=(step_time.low, step_time.high),
        usd_per_hour=usd_per_hour,
    )
    return Entry(
        rank=0,
        candidate=candidate,
        forecast=forecast,
        budget=budget,
        budget_seconds=budget * step_time.seconds,
        epochs=None if steps is None else steps * candidate.batch_size / num_samples_full,
        quote=priced or None,
    )


def _order(entry: Entry) -> tuple[Any, ...]:
    forecast = entry.forecast
    if entry.quote is not None:
        trust = forecast.status is Status.UNTRUSTED
        return (0, trust, entry.quote.seconds, forecast.steps, entry.candidate.sort_key())
    missing = math.inf if forecast.shortfall is None else forecast.shortfall
    return (1, _MISSED_ORDER.index(forecast.status), missing, entry.candidate.sort_key())
