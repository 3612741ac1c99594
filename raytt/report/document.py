"""A ranking as JSON and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from raytt.candidates import Candidate
from raytt.forecast import Forecast, Status
from raytt.pricing.quote import Quote
from raytt.ranking import Entry, Provenance, Ranking
from raytt.report.pricing_document import (
    decision_to_json,
    terms_from_json,
    terms_to_json,
    timing_from_json,
    timing_to_json,
)
from raytt.target import Target


def to_json(ranking: Ranking) -> dict[str, Any]:
    """Plain numbers, strings and None under the names that `Ranking.save` documents; nothing is NaN or infinite."""
    provenance = asdict(ranking.provenance)
    provenance["step_seconds"] = {str(b): s for b, s in ranking.provenance.step_seconds.items()}
    return {
        "task": ranking.task,
        "method": ranking.method,
        "target": str(ranking.target),
        "phases": dict(ranking.phases),
        "raytt_seconds": ranking.total_seconds,
        "replaced_seconds": ranking.replaced_seconds,
        "saving": ranking.saving,
        "candidates": [_entry_to_json(entry) for entry in ranking.entries],
        "notes": list(ranking.notes),
        "provenance": provenance,
        "timing": timing_to_json(ranking.timing),
        "terms": terms_to_json(ranking.terms),
        "decision": _decision_to_json(ranking),
    }


def from_json(data: Mapping[str, Any]) -> Ranking:
    """The ranking that `to_json` wrote.

    Raises:
        KeyError, TypeError, ValueError: If it is something else.
    """
    known = {f.name for f in fields(Provenance)}
    provenance = {k: v for k, v in data["provenance"].items() if k in known}
    step_seconds = {int(b): s for b, s in provenance.pop("step_seconds").items()}
    return Ranking(
        task=data["task"],
        method=data["method"],
        target=Target.parse(data["target"]),
        phases=dict(data["phases"]),
        entries=tuple(_entry_from_json(entry) for entry in data["candidates"]),
        notes=tuple(data["notes"]),
        provenance=Provenance(**provenance, step_seconds=step_seconds),
        timing=timing_from_json(data.get("timing", {})),
        terms=terms_from_json(data.get("terms", {})),
    )


def _decision_to_json(ranking: Ranking) -> dict[str, Any] | None:
    """What follows from the terms, without the plans that were not chosen; None where nothing was asked."""
    if not ranking.terms.asks:
        return None
    return {name: value for name, value in decision_to_json(ranking.decide()).items() if name not in ("terms", "plans")}


def _entry_to_json(entry: Entry) -> dict[str, Any]:
    forecast, quote = entry.forecast, entry.quote
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
    }


def _entry_from_json(data: Mapping[str, Any]) -> Entry:
    seconds = data["seconds"]
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
    )
