"""Section: candidates by quality at the end of their own budgets, and time against quality."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from raytt.forecast.final_quality import QualityStatus
from raytt.report.quality import SIGNS, best_sentence, other_objectives, row_of, shown_front
from raytt.report.section import PageInput, Section
from raytt.report.svg import COLOURS, Axis, Figure, Point
from raytt.report.words import human_seconds, human_steps, human_usd
from raytt.results.quality_choice import QualityChoice
from raytt.results.ranking import Ranking


def tradeoff(choice: QualityChoice, names: Mapping[int, str]) -> Markup | None:
    """Final quality against the time of the run, with the front of all runs that may also be ended early; None where
    nothing is known.

    Those that are not trusted are drawn hollow.
    """
    ends = [point for point in choice.ends if point.seconds > 0.0]
    if not ends:
        return None
    objective, labels = choice.objective, machine_labels(choice)
    values = [point.estimate.value for point in ends] + [point.estimate.value for point in choice.front]
    logarithmic = not objective.more_is_better and min(values) > 0.0
    times = [point.seconds for point in ends] + [point.seconds for point in choice.front]
    figure = Figure(
        "quality",
        title=f"{objective.words.capitalize()} against training time",
        description=f"{len(ends)} runs to their ends; the line joins points, of runs that may be ended early, to which "
        "no other is as fast and better. The table has the numbers.",
        x=Axis.over("Training time, logarithmic", times, log=True, write=human_seconds),
        y=Axis.over(
            objective.words.capitalize() + (", logarithmic" if logarithmic else ""),
            values,
            log=logarithmic,
            write=objective.write,
        ),
    )
    figure.line(_staircase(choice), "front")
    for point in ends:
        number = labels.index(point.machine.label)
        estimate = point.estimate
        figure.point(
            point.seconds,
            estimate.value,
            f"c{number % COLOURS}{'' if point.trusted else ' hollow'}",
            tip=f"Rank {point.entry.rank} ({names[point.entry.rank]}) on {point.machine.label}: "
            f"{objective.write(estimate.value)} (90 %: {objective.write(estimate.low)} to "
            f"{objective.write(estimate.high)}) after {human_seconds(point.seconds)}",
            shape=number,
            size=3.5,
        )
    best = choice.best
    if best is not None and best.seconds > 0.0:
        figure.point(best.seconds, best.estimate.value, "ring", tip="The best within the budget", size=8)
        end = figure.x.share(best.seconds) > 0.6
        figure.text(
            best.seconds, best.estimate.value, "best", "strong end" if end else "strong", shift=(-12 if end else 12, 18)
        )
    if choice.terms.deadline is not None:
        figure.rule(x=choice.terms.deadline, text=f"budget {human_seconds(choice.terms.deadline)}")
    return figure.svg()


def machine_labels(choice: QualityChoice) -> list[str]:
    """Names of the machines in the order of their colours in `tradeoff`."""
    return list(dict.fromkeys(point.machine.label for point in choice.ends))


def card(ranking: Ranking) -> dict[str, Any] | None:
    """What stands at the top of the page of a ranking by objective; None where all candidates diverge."""
    best, objective = ranking.best, ranking.quality_of_interest
    if best is None or objective is None:
        return None
    return {"words": objective.words.capitalize(), "row": row_of(best, "", objective, ())}


def _staircase(choice: QualityChoice) -> list[Point]:
    points: list[Point] = []
    for point in choice.front:
        if points:
            points.append((point.seconds, points[-1][1]))
        points.append((point.seconds, point.estimate.value))
    return points


def _front(choice: QualityChoice, names: Mapping[int, str]) -> list[dict[str, Any]]:
    write = choice.objective.write
    return [
        {
            "rank": point.entry.rank,
            "name": names[point.entry.rank],
            "place": point.machine.label,
            "after": "its end" if point.ends else f"{human_steps(point.step)} steps",
            "time": human_seconds(point.seconds),
            "cost": "–" if point.usd is None else human_usd(point.usd),
            "value": write(point.estimate.value),
            "interval": f"{write(point.estimate.low)}–{write(point.estimate.high)}",
        }
        for point in shown_front(choice)
    ]


def _contents(page: PageInput) -> dict[str, Any] | None:
    ranking, choice = page.ranking, page.ranking.choose_quality()
    if choice is None:
        return None
    objective = choice.objective
    others = other_objectives(ranking, objective)
    entries = [entry for entry in ranking.by_objective(objective.name) if entry.quality is not None]
    statuses = {entry.quality.status for entry in entries if entry.quality is not None}
    doubts: dict[str, list[int]] = {}
    for entry in entries:
        for words in () if entry.quality is None else entry.quality.doubts:
            doubts.setdefault(words, []).append(entry.rank)
    return {
        "objective": objective,
        "others": others,
        "ranked": ranking.objective is not None,
        "stopping": ranking.early_stopping,
        "rows": [row_of(entry, page.names[entry.rank], objective, others) for entry in entries],
        "statuses": [status for status in QualityStatus if status in statuses],
        "signs": SIGNS,
        "sentence": best_sentence(choice, page.names),
        "front": _front(choice, page.names),
        "figure": tradeoff(choice, page.names),
        "machines": machine_labels(choice),
        "doubts": doubts,
    }


def _heading(page: PageInput) -> str:
    objective = page.ranking.quality_of_interest
    return "Quality" if objective is None else f"By {objective.words} at the end of each budget"


SECTION = Section(
    id="quality",
    title="Final quality",
    heading=_heading,
    template="sections/quality.html.jinja",
    contents=_contents,
)
