"""Final qualities as text: candidates by objective, the best within a budget, the front of time against quality."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from raytt.forecast.final_quality import QualityStatus
from raytt.pricing.terms import Terms
from raytt.report.words import differences, human_seconds, human_steps, human_usd
from raytt.results.entry import Entry
from raytt.results.quality_choice import QualityChoice, QualityPoint
from raytt.results.ranking import Ranking
from raytt.task.rank_objective import OBJECTIVES, RankObjective

MOST_POINTS = 8
"""Points of the front that are listed."""
SECOND_VIEW = 5
"""Candidates that the view by quality lists where the ranking is by cost."""
STYLES = {
    QualityStatus.PREDICTED: "green",
    QualityStatus.EXTRAPOLATED: "cyan",
    QualityStatus.UNTRUSTED: "yellow",
    QualityStatus.UNSTABLE: "red",
}
SIGNS = {
    QualityStatus.PREDICTED: "✓",
    QualityStatus.EXTRAPOLATED: "→",
    QualityStatus.UNTRUSTED: "~",
    QualityStatus.UNSTABLE: "✗",
}
"""Symbols, so that a status is not shown by its colour alone."""


@dataclass(frozen=True, kw_only=True)
class QualityRow:
    """A formatted row of the view by quality."""

    rank: int
    name: str
    status: QualityStatus
    sign: str
    value: str
    interval: str
    others: tuple[str, ...]
    """Of the other objectives that are known, in their order."""
    steps: str
    time: str
    missed: bool
    """Whether there is no final quality."""


def other_objectives(ranking: Ranking, objective: RankObjective) -> tuple[RankObjective, ...]:
    """The objectives that are known beside one."""
    known = {name for e in ranking.entries if e.quality is not None for name in e.quality.estimates}
    return tuple(other for other in OBJECTIVES if other.name in known and other is not objective)


def row_of(entry: Entry, name: str, objective: RankObjective, others: Sequence[RankObjective]) -> QualityRow:
    """The formatted row of an entry with a final quality."""
    quality = entry.quality
    assert quality is not None
    estimate = quality.of(objective.name)
    steps = human_steps(quality.steps)
    if quality.kept < quality.steps:
        steps += f" (kept: {human_steps(quality.kept)})"
    found = [quality.of(other.name) for other in others]
    return QualityRow(
        rank=entry.rank,
        name=name,
        status=quality.status,
        sign=SIGNS[quality.status],
        value="–" if estimate is None else objective.write(estimate.value),
        interval="" if estimate is None else f"{objective.write(estimate.low)}–{objective.write(estimate.high)}",
        others=tuple("–" if e is None else o.write(e.value) for e, o in zip(found, others, strict=True)),
        steps=steps,
        time="–" if entry.run_seconds is None else human_seconds(entry.run_seconds),
        missed=estimate is None,
    )


def quality_table(
    ranking: Ranking, objective: RankObjective, entries: Sequence[Entry], names: Sequence[RenderableType]
) -> Table:
    """Entries in the order given.

    Args:
        ranking: They are of.
        objective: The first number.
        entries: Those shown.
        names: Their settings.
    """
    others = other_objectives(ranking, objective)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("#", justify="right")
    table.add_column("candidate", ratio=1, overflow="fold")
    table.add_column("status", no_wrap=True)
    for column in (objective.name, "90 %", *(other.name for other in others), "steps", "time"):
        table.add_column(column, justify="left" if column == "90 %" else "right", no_wrap=True)
    for entry, name in zip(entries, names, strict=True):
        if entry.quality is None:
            continue
        row = row_of(entry, "", objective, others)
        status = Text(row.status.value, style=STYLES[row.status])
        table.add_row(
            str(row.rank),
            name,
            status,
            row.value,
            row.interval,
            *row.others,
            row.steps,
            row.time,
            style="dim" if row.missed else None,
        )
    return table


def second_view(ranking: Ranking) -> Iterator[RenderableType]:
    """The view by quality of a ranking by cost; nothing where no final quality is known."""
    objective = ranking.quality_of_interest
    if objective is None:
        return
    names = names_by_rank(ranking)
    first = ranking.by_objective()[:SECOND_VIEW]
    yield Text.assemble(
        (f"By {objective.words} at the end of their own budgets", "bold"), f" (--objective {objective.name} ranks so):"
    )
    yield quality_table(ranking, objective, first, [Text(names[entry.rank]) for entry in first])


def render_choice(ranking: Ranking, choice: QualityChoice) -> RenderableType:
    """The best within the budget, and the front."""
    names = names_by_rank(ranking)
    parts: list[RenderableType] = [Text.assemble(("Quality. ", "bold"), best_sentence(choice, names))]
    if len(choice.front) > 1:
        parts.append(Text(f"Front of time against {choice.objective.words}: nothing else is as fast and better."))
        parts.append(_front(choice, names))
        if len(choice.front) > MOST_POINTS:
            parts.append(Text(f"… of {len(choice.front)} points: --json FILE holds them all.", style="dim"))
    return Group(*parts)


def best_sentence(choice: QualityChoice, names: Mapping[int, str]) -> str:
    """The best within deadline and budget, in a sentence."""
    within, objective, best = bounds(choice.terms), choice.objective, choice.best
    if best is None:
        return f"No configuration is known to have any {objective.words}{within}."
    how = "trained to its end" if best.ends else f"ended after {human_steps(best.step)} steps"
    usd = "" if best.usd is None else f", {human_usd(best.usd)}"
    estimate = best.estimate
    untrusted = "" if best.trusted else " This forecast is not trusted."
    return (
        f"Best {objective.words}{within}: {objective.write(estimate.value)} (90 %: {objective.write(estimate.low)} to "
        f"{objective.write(estimate.high)}), rank {best.entry.rank} ({names[best.entry.rank]}) on "
        f"{best.machine.label}, {how}: {human_seconds(best.seconds)}{usd}.{untrusted}"
    )


def bounds(terms: Terms) -> str:
    """What limits the choice, in words."""
    found = []
    if terms.deadline is not None:
        found.append(human_seconds(terms.deadline))
    if terms.budget_usd is not None:
        found.append(f"${terms.budget_usd:g}")
    return f" within {' and '.join(found)}" if found else ""


def shown_front(choice: QualityChoice) -> list[QualityPoint]:
    """At most `MOST_POINTS` of the front, among them its ends, evenly in between."""
    front = choice.front
    if len(front) <= MOST_POINTS:
        return list(front)
    return [front[round(i * (len(front) - 1) / (MOST_POINTS - 1))] for i in range(MOST_POINTS)]


def names_by_rank(ranking: Ranking) -> dict[int, str]:
    """The settings in which each candidate differs from the others."""
    texts = differences([entry.candidate for entry in ranking.entries])
    return {entry.rank: text for entry, text in zip(ranking.entries, texts, strict=True)}


def _front(choice: QualityChoice, names: Mapping[int, str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    priced = any(point.usd is not None for point in choice.front)
    table.add_column("#", justify="right")
    table.add_column("candidate", ratio=1, overflow="fold")
    table.add_column("machine", overflow="fold")
    for column in ("after", "time", *(("cost",) if priced else ()), choice.objective.name):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("90 %", no_wrap=True)
    for point in shown_front(choice):
        estimate, write = point.estimate, choice.objective.write
        table.add_row(
            str(point.entry.rank),
            Text(names[point.entry.rank]),
            Text(point.machine.label),
            "its end" if point.ends else f"{human_steps(point.step)} steps",
            human_seconds(point.seconds),
            *(("–" if point.usd is None else human_usd(point.usd),) if priced else ()),
            write(estimate.value),
            f"{write(estimate.low)}–{write(estimate.high)}",
        )
    return table
