"""One candidate in a ranking, and the order of candidates by predicted cost or by final quality."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from raytt.forecast.final_quality import FinalQuality, QualityStatus
from raytt.forecast.forecast import Forecast, Status
from raytt.pricing.quote import Quote, quote
from raytt.pricing.step_key import StepKey, step_key
from raytt.pricing.step_memory import Fit
from raytt.results.quality_document import quality_from_json, quality_to_json
from raytt.task.candidate import Candidate
from raytt.task.rank_objective import RankObjective

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
    """1 for the cheapest; where an objective was asked for, for the best at the end of its budget."""
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
    quality: FinalQuality | None = None
    """What it has at the end of its own budget; None where that is not predicted (``mode="eval"``)."""

    @property
    def run_seconds(self) -> float | None:
        """What its run takes to the end of its budget, or until early stopping ends it, seconds; None without
        `quality`.
        """
        return None if self.quality is None else self.budget_seconds * self.quality.steps / self.budget

    fit: Fit | None = None
    """Memory of its steps beside that of the machine on which it is ranked; None where it could not be told."""

    @property
    def peak_memory_bytes(self) -> int | None:
        """Most bytes of a device that its steps need; None where that could not be told."""
        return None if self.fit is None else self.fit.peak

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


def rank_candidates(
    candidates: Sequence[Candidate],
    forecasts: Sequence[Forecast],
    *,
    budgets: Sequence[int],
    step_times: Mapping[StepKey, StepSeconds],
    num_samples_full: int,
    usd_per_hour: float | None = None,
    qualities: Mapping[Candidate, FinalQuality] | None = None,
    objective: RankObjective | None = None,
    fits: Sequence[Fit | None] | None = None,
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
        step_times: Seconds per step by batch size and network; one for every such among the candidates. A step that
            accumulates gradients takes A times as long.
        num_samples_full: N_full, for epochs.
        usd_per_hour: Price of the training machine.
        qualities: What each has at the end of its budget, where that is predicted.
        objective: Rank by that, as `by_quality` says; None: by cost.
        fits: Memory of each candidate's steps beside that machine's; it does not change the order.
    """
    known = qualities or {}
    entries = [
        replace(
            _entry(candidate, forecast, budget, step_times[step_key(candidate)], num_samples_full, usd_per_hour),
            quality=known.get(candidate),
            fit=fit,
        )
        for candidate, forecast, budget, fit in zip(
            candidates, forecasts, budgets, fits or [None] * len(candidates), strict=True
        )
    ]
    ordered = sorted(entries, key=_order) if objective is None else by_quality(entries, objective)
    return tuple(replace(entry, rank=rank) for rank, entry in enumerate(ordered, start=1))


def by_quality(entries: Sequence[Entry], objective: RankObjective) -> list[Entry]:
    """The best at the end of their budgets first, of equal ones the fastest; then the untrusted in the same order, then
    those that diverge.
    """

    def order(entry: Entry) -> tuple[Any, ...]:
        quality = entry.quality
        estimate = None if quality is None else quality.of(objective.name)
        if quality is None or estimate is None:
            return (2, 0.0, 0.0, entry.candidate.sort_key())
        untrusted = quality.status is QualityStatus.UNTRUSTED
        return (int(untrusted), objective.sign * estimate.value, entry.run_seconds, entry.candidate.sort_key())

    return sorted(entries, key=order)


def _entry(
    candidate: Candidate,
    forecast: Forecast,
    budget: int,
    step_time: StepSeconds,
    num_samples_full: int,
    usd_per_hour: float | None,
) -> Entry:
    steps, times = forecast.steps, candidate.accumulation_steps
    priced = steps is not None and quote(
        steps,
        seconds_per_step=times * step_time.seconds,
        steps_interval=(forecast.low, forecast.high),
        seconds_per_step_interval=(times * step_time.low, times * step_time.high),
        usd_per_hour=usd_per_hour,
    )
    return Entry(
        rank=0,
        candidate=candidate,
        forecast=forecast,
        budget=budget,
        budget_seconds=budget * times * step_time.seconds,
        epochs=None if steps is None else steps * candidate.samples_per_step / num_samples_full,
        quote=priced or None,
    )


def _order(entry: Entry) -> tuple[Any, ...]:
    forecast = entry.forecast
    if entry.quote is not None:
        trust = forecast.status is Status.UNTRUSTED
        return (0, trust, entry.quote.seconds, forecast.steps, entry.candidate.sort_key())
    missing = math.inf if forecast.shortfall is None else forecast.shortfall
    return (1, _MISSED_ORDER.index(forecast.status), missing, entry.candidate.sort_key())


def entry_to_json(entry: Entry) -> dict[str, Any]:
    """Plain numbers, strings and None."""
    forecast, quote, fit = entry.forecast, entry.quote, entry.fit
    return {
        "rank": entry.rank,
        "config": entry.candidate.config(),
        "status": forecast.status.value,
        "steps": forecast.steps,
        "steps_low": forecast.low,
        "steps_high": forecast.high,
        "epochs": entry.epochs,
        "seconds": entry.seconds,
        "seconds_low": None if quote is None else quote.low,
        "seconds_high": None if quote is None else quote.high,
        "usd": entry.usd,
        "accuracy": forecast.accuracy,
        "val_accuracy": forecast.val_accuracy,
        "doubts": list(forecast.doubts),
        "shortfall": forecast.shortfall,
        "budget_steps": entry.budget,
        "budget_seconds": entry.budget_seconds,
        "quality": None if entry.quality is None else quality_to_json(entry.quality),
        "peak_memory_bytes": entry.peak_memory_bytes,
        "fits": None if fit is None else fit.fits,
        "usable_memory_bytes": None if fit is None else fit.usable,
        "fitting_batch_size": None if fit is None else fit.batch_size,
        "fitting_accumulation_steps": None if fit is None else fit.accumulation_steps,
    }


def entry_from_json(data: Mapping[str, Any]) -> Entry:
    """What `entry_to_json` wrote."""
    seconds, peak = data["seconds"], data.get("peak_memory_bytes")
    return Entry(
        rank=data["rank"],
        candidate=Candidate.from_config(data["config"]),
        forecast=Forecast(
            status=Status(data["status"]),
            steps=data["steps"],
            low=data["steps_low"],
            high=data["steps_high"],
            shortfall=data["shortfall"],
            accuracy=data["accuracy"],
            val_accuracy=data["val_accuracy"],
            doubts=tuple(data.get("doubts", ())),
        ),
        budget=data["budget_steps"],
        budget_seconds=data["budget_seconds"],
        epochs=data["epochs"],
        quote=None
        if seconds is None
        else Quote(seconds=seconds, low=data["seconds_low"], high=data["seconds_high"], usd=data["usd"]),
        quality=None if data.get("quality") is None else quality_from_json(data["quality"]),
        fit=None
        if peak is None
        else Fit(
            peak=peak,
            usable=data["usable_memory_bytes"],
            batch_size=data["fitting_batch_size"],
            accumulation_steps=data["fitting_accumulation_steps"],
        ),
    )
