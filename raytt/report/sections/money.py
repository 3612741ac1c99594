"""Section: the decision under the terms of the ranking, cost against time, and where prices come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from raytt.pricing.catalog import warn_of_age
from raytt.report import money
from raytt.report.money import interval, place
from raytt.report.section import PageInput, Section
from raytt.report.svg import COLOURS, Axis, Figure, Point
from raytt.report.words import human_seconds, human_usd, short_usd
from raytt.results.decisions import Decision, TrainingPlan

FAR = 10.0
"""A deadline or budget more than this factor beyond all plans is not drawn. A convention of presentation."""


def tradeoff(decision: Decision, names: Mapping[int, str]) -> Markup | None:
    """Cost against time of all plans, with the Pareto front; None where nothing is priced.

    Forecasts that are not trusted are drawn hollow.
    """
    plans, machines, terms = _drawn(decision), tradeoff_machines(decision), decision.terms
    if not plans:
        return None
    times, costs = [plan.seconds for plan in plans], [plan.usd or 0.0 for plan in plans]
    # A bound far beyond all plans does not push them into a corner; the question above the figure names it.
    bounds = [
        [bound] if bound is not None and min(found) / FAR <= bound <= FAR * max(found) else []
        for bound, found in ((terms.deadline, times), (terms.budget_usd, costs))
    ]
    figure = Figure(
        "tradeoff",
        title="Cost against training time of every configuration on every machine",
        description=f"{len(plans)} plans on {len(machines)} machines; the line joins those to which no other is both "
        "faster and cheaper. The table of the Pareto front has the numbers.",
        x=Axis.over("Training time, logarithmic", [*times, *bounds[0]], log=True, write=human_seconds),
        y=Axis.over("Cost, logarithmic", [*costs, *bounds[1]], log=True, write=short_usd),
    )
    figure.line(_staircase(decision.front), "front")
    for plan, usd in zip(plans, costs, strict=True):
        number = machines.index(place(plan))
        tip = f"Rank {plan.entry.rank} ({names[plan.entry.rank]}) on {place(plan)}: {human_seconds(plan.seconds)} "
        tip += f"(90 %: {interval(plan) or 'not known'}), {human_usd(usd)}, {plan.entry.forecast.status.value}"
        css = f"c{number % COLOURS}{'' if plan.trusted else ' hollow'}"
        figure.point(plan.seconds, usd, css, tip=tip, shape=number, size=3.5)
    _ring(figure, decision)
    if terms.deadline is not None:
        figure.rule(x=terms.deadline, text=f"deadline {human_seconds(terms.deadline)}")
    if terms.budget_usd is not None:
        figure.rule(y=terms.budget_usd, text=f"budget ${terms.budget_usd:g}")
    return figure.svg()


def tradeoff_machines(decision: Decision) -> list[str]:
    """Names of the machines in the order of their colours in `tradeoff`."""
    return list(dict.fromkeys(place(plan) for plan in _drawn(decision)))


def _drawn(decision: Decision) -> list[TrainingPlan]:
    return [plan for plan in decision.plans if plan.seconds > 0.0 and plan.usd]


def _ring(figure: Figure, decision: Decision) -> None:
    """Mark what is chosen."""
    chosen = {"cheapest": decision.cheapest, "fastest": decision.fastest}
    if decision.cheapest == decision.fastest:
        chosen = {"cheapest and fastest": decision.cheapest}
    taken: list[float] = []
    for label, plan in chosen.items():
        if plan is not None and plan.usd:
            figure.point(plan.seconds, plan.usd, "ring", tip=f"The {label} that fits", size=8)
            end = figure.x.share(plan.seconds) > 0.6
            down = figure.place(plan.seconds, plan.usd)[1]
            # Where both lie at one height, the second name goes above the first.
            shift = -11.0 if any(abs(down - other) < 14.0 for other in taken) else 4.0
            taken.append(down)
            figure.text(
                plan.seconds, plan.usd, label, "strong end" if end else "strong", shift=(-12 if end else 12, shift)
            )


def _staircase(front: Sequence[TrainingPlan]) -> list[Point]:
    points: list[Point] = []
    for plan in front:
        if points:
            points.append((plan.seconds, points[-1][1]))
        points.append((plan.seconds, plan.usd or 0.0))
    return points


def _plans(decision: Decision, names: Mapping[int, str]) -> list[dict[str, Any]]:
    """The chosen plans and the Pareto front, formatted."""
    rows = [("cheapest", decision.cheapest)]
    if decision.cheapest == decision.fastest:
        rows = [("cheapest and fastest", decision.cheapest)]
    else:
        rows.append(("fastest", decision.fastest))
    rows += [("Pareto front", plan) for plan in decision.front if plan not in (decision.cheapest, decision.fastest)]
    return [
        {
            "label": label,
            "rank": plan.entry.rank,
            "name": names[plan.entry.rank] + ("" if plan.trusted else " (untrusted)"),
            "place": money.place(plan),
            "as_of": plan.machine.as_of,
            "time": human_seconds(plan.seconds),
            "interval": money.interval(plan) or "–",
            "cost": "–" if plan.usd is None else human_usd(plan.usd),
            "chances": money.chances(plan, decision.terms) or "–",
        }
        for label, plan in rows
        if plan is not None
    ]


def _contents(page: PageInput) -> dict[str, Any]:
    ranking, decision = page.ranking, page.decision
    return {
        "best": ranking.best,
        "nothing_fits": () if decision.fits else money.nothing_fits(decision),
        "question": money.question(decision.terms),
        "plans": _plans(decision, page.names),
        "tries": money.tries(decision) if ranking.objective is None else (),
        "tradeoff": tradeoff(decision, page.names),
        "front_drawn": len(decision.front) > 1,
        "machines": tradeoff_machines(decision),
        "prices": money.price_lines(ranking.terms, ranking.provenance.usd_per_hour),
        "step_sources": money.step_sources(decision),
        "price_notes": (*decision.notes, *warn_of_age(ranking.terms.offers, page.now.date())),
        "run_place": page.run.place,
    }


SECTION = Section(
    id="money",
    title="Cost and time",
    heading="Cost and time",
    template="sections/money.html.jinja",
    contents=_contents,
)
