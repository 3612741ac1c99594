"""A ranking as formatted rows, and as a table for notebooks."""

from __future__ import annotations

from dataclasses import dataclass

from raytt.forecast.forecast import Status
from raytt.report import money as budget
from raytt.report.memory import memory_of
from raytt.report.templates import environment
from raytt.report.words import differences, human_seconds, human_steps, human_usd, short
from raytt.results.entry import Entry
from raytt.results.ranking import Ranking

SIGNS = {
    Status.REACHED: "✓",
    Status.UNTRUSTED: "~",
    Status.NOISE_FLOOR: "≈",
    Status.NOT_REACHED: "…",
    Status.UNSTABLE: "✗",
}
"""Symbols, so that a status is not shown by its colour alone."""


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """A formatted row of the ranking, with the numbers to sort by."""

    rank: int
    name: str
    """The settings in which the candidate differs from the others."""
    status: Status
    sign: str
    css: str
    steps: str
    interval: str
    epochs: str
    time: str
    cost: str
    accuracy: str
    memory: str
    fits: bool
    """False where it is known that its steps do not fit the machine."""
    sort: tuple[float | None, float | None, float | None, float | None, float | None]
    """Steps, seconds, dollars, accuracy, bytes; None sorts last."""


def fragment(ranking: Ranking, *, most: int = 20) -> str:
    """The first rows of a ranking as HTML for a notebook, without scripts."""
    names = names_of(ranking)
    return (
        environment()
        .get_template("fragment.html.jinja")
        .render(
            ranking=ranking,
            headline=headline(ranking),
            rows=[row_of(entry, names[entry.rank]) for entry in ranking.entries[:most]],
            hidden=max(0, len(ranking.entries) - most),
            priced=any(entry.usd is not None for entry in ranking.entries),
            prices=budget.price_lines(ranking.terms, ranking.provenance.usd_per_hour),
        )
    )


def headline(ranking: Ranking) -> str:
    """The answer in one sentence."""
    if ranking.objective is not None:
        return _headline_by_quality(ranking)
    best = ranking.best
    if best is None or best.quote is None or best.forecast.steps is None:
        return f"None of the {len(ranking.entries)} candidates is predicted to reach {ranking.target} in its budget."
    low, high = best.forecast.low, best.forecast.high
    upto = "more" if high is None else human_steps(high)
    spread = "" if low is None else f" (90 %: {human_steps(low)} to {upto})"
    usd = "" if best.usd is None else f" and costs {human_usd(best.usd)}"
    name = names_of(ranking)[best.rank]
    cheapest = "Cheapest" if best.forecast.status is Status.REACHED else "Cheapest, but outside the trusted range"
    return (
        f"{cheapest}: {name}. It reaches {ranking.target} in {human_steps(best.forecast.steps)} steps{spread}, "
        f"takes {human_seconds(best.quote.seconds)}{usd}."
    )


def _headline_by_quality(ranking: Ranking) -> str:
    best, objective = ranking.best, ranking.quality_of_interest
    estimate = None if best is None or best.quality is None or objective is None else best.quality.of(objective.name)
    if best is None or best.quality is None or objective is None or estimate is None:
        return f"All {len(ranking.entries)} candidates are predicted to diverge."
    first = "Best" if best.quality.trusted else "Best, but outside the trusted range"
    seconds = "" if best.run_seconds is None else f", in {human_seconds(best.run_seconds)}"
    return (
        f"{first}: {names_of(ranking)[best.rank]}. It ends with a {objective.words} of "
        f"{objective.write(estimate.value)} (90 %: {objective.write(estimate.low)} to "
        f"{objective.write(estimate.high)}) after {human_steps(best.quality.steps)} steps{seconds}."
    )


def statuses_of(ranking: Ranking) -> list[Status]:
    """The statuses that some candidate has, the best first."""
    return [status for status in SIGNS if any(entry.forecast.status is status for entry in ranking.entries)]


def names_of(ranking: Ranking) -> dict[int, str]:
    """The settings in which each candidate differs from the others, by rank."""
    texts = differences([entry.candidate for entry in ranking.entries])
    return {entry.rank: text for entry, text in zip(ranking.entries, texts, strict=True)}


def row_of(entry: Entry, name: str) -> TableRow:
    """The formatted row of an entry."""
    forecast, quote = entry.forecast, entry.quote
    accuracy = forecast.accuracy if forecast.val_accuracy is None else forecast.val_accuracy
    interval = "–"
    if forecast.low is not None:
        high = "" if forecast.high is None else f" – {human_steps(forecast.high)}"
        interval = f"{'≥ ' if forecast.high is None else ''}{human_steps(forecast.low)}{high}"
    beyond = "–" if forecast.status is Status.UNSTABLE else f"> {human_steps(entry.budget)}"
    return TableRow(
        rank=entry.rank,
        name=name,
        status=forecast.status,
        sign=SIGNS[forecast.status],
        css=css_of(forecast.status),
        steps=beyond if forecast.steps is None else human_steps(forecast.steps),
        interval=interval,
        epochs="–" if entry.epochs is None else short(entry.epochs),
        time="–" if quote is None else human_seconds(quote.seconds),
        cost="–" if entry.usd is None else human_usd(entry.usd),
        accuracy="–" if accuracy is None else f"{accuracy:.1%}",
        memory=memory_of(entry),
        fits=entry.fit is None or entry.fit.fits is not False,
        sort=(forecast.steps, entry.seconds, entry.usd, accuracy, entry.peak_memory_bytes),
    )


def css_of(status: Status) -> str:
    """The CSS class of a status."""
    return f"s-{status.value.replace(' ', '-')}"
