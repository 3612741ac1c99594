"""Prices and decisions as text: what to run, where, at what cost, and with what probability."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from raytt.pricing.catalog import describe_offers
from raytt.pricing.step_key import by_size, in_words
from raytt.pricing.terms import Terms
from raytt.report.quality import render_choice
from raytt.report.words import as_text, differences, human_seconds, human_usd
from raytt.results.decisions import Decision, Remedy, TrainingPlan
from raytt.results.ranking import Ranking

MOST_PLANS = 12
"""Plans of the Pareto front that are listed."""


def render_money(ranking: Ranking) -> Iterator[RenderableType]:
    """The prices of a ranking and the decision under its terms; nothing where neither was asked for."""
    if ranking.terms.asks:
        yield render_decision(ranking, ranking.decide())
        yield Text()
    for line in price_lines(ranking.terms, ranking.provenance.usd_per_hour):
        yield Text(line)
    if ranking.terms.offers:
        source = (ranking.provenance.step_source or "").partition(";")[0]
        yield Text(f"Times and costs in the ranking are those of {ranking.provenance.machine}: {source}.")


def price_lines(terms: Terms, usd_per_hour: float | None) -> tuple[str, ...]:
    """Every price with its date and its source."""
    if terms.offers:
        return tuple(f"Price of {line}." for line in describe_offers(terms.offers))
    return () if usd_per_hour is None else (f"Price: ${usd_per_hour:g} per hour, as you gave it.",)


def plain_decision(ranking: Ranking, decision: Decision, *, width: int = 120) -> str:
    """`render_decision` and the prices without colours."""
    return as_text(full_decision(ranking, decision), width=width)


def full_decision(ranking: Ranking, decision: Decision) -> RenderableType:
    """The decision with its prices, the sources of its step times, and its notes."""
    lines = [*price_lines(decision.terms, ranking.provenance.usd_per_hour), *step_sources(decision)]
    choice = ranking.choose_quality(decision.terms)
    # What was asked for first.
    parts: list[RenderableType] = [render_decision(ranking, decision)]
    if choice is not None:
        parts.insert(0 if ranking.objective else 1, render_choice(ranking, choice))
    return Group(*parts, Text(), *map(Text, lines), *(Text(f"• {n}") for n in decision.notes))


def step_sources(decision: Decision) -> tuple[str, ...]:
    """The source of each machine's step times, for its smallest batch size."""
    found: dict[str, str] = {}
    for plan in decision.plans:
        machine = plan.machine
        key = min(machine.step_times, key=by_size)
        time = machine.step_times[key]
        found.setdefault(
            place(plan),
            f"A step on {place(plan)} takes {human_seconds(time.seconds)} ({human_seconds(time.low)}–"
            f"{human_seconds(time.high)}) at batch size {in_words(key)}: {time.source}.",
        )
    return tuple(found.values())


def render_decision(ranking: Ranking, decision: Decision) -> RenderableType:
    """The question, the chosen plans, the Pareto front and how many runs fit; or which bound has to be relaxed."""
    names = dict(
        zip(
            (entry.rank for entry in ranking.entries),
            differences([entry.candidate for entry in ranking.entries]),
            strict=True,
        )
    )
    parts: list[RenderableType] = [Text.assemble(("Decision. ", "bold"), question(decision.terms))]
    if decision.cheapest is not None and decision.fastest is not None:
        same = decision.cheapest == decision.fastest
        rows = [("cheapest and fastest" if same else "cheapest", decision.cheapest)]
        rows += [] if same else [("fastest", decision.fastest)]
        parts.append(_plans(rows, names, decision.terms))
    else:
        parts += [Text(sentence, style="yellow") for sentence in nothing_fits(decision)]
    if len(decision.front) > 1:
        parts.append(Text("Pareto front: no other plan is both faster and cheaper."))
        parts.append(_plans([(str(i), p) for i, p in enumerate(decision.front[:MOST_PLANS], 1)], names, decision.terms))
        if len(decision.front) > MOST_PLANS:
            parts.append(
                Text(f"… and {len(decision.front) - MOST_PLANS} more: --json FILE holds them all.", style="dim")
            )
    if ranking.objective is None:
        # How many of the first ones fit: of a ranking by an objective the first are others.
        parts += [Text(sentence) for sentence in tries(decision)]
    return Group(*parts)


def question(terms: Terms) -> str:
    """What was asked, in words."""
    bounds = []
    if terms.budget_usd is not None:
        bounds.append(f"at most ${terms.budget_usd:g}")
    if terms.deadline is not None:
        bounds.append(f"at most {human_seconds(terms.deadline)}")
    if not bounds:
        return "Which configuration, on which machine, without a budget or a deadline:"
    sure = "in the median" if terms.confidence == 0.5 else f"with a probability of at least {terms.confidence:.0%}"
    return f"One training run to the target that takes {' and '.join(bounds)}, {sure}:"


def nothing_fits(decision: Decision) -> tuple[str, ...]:
    """Why no plan fits, and which bounds would allow one."""
    terms = decision.terms
    if not decision.plans:
        return (
            "Nothing fits: no configuration is predicted to reach the target on these machines. Give them more epochs, "
            "take an easier target, or search other learning rates.",
        )
    if terms.budget_usd is not None and all(plan.usd is None for plan in decision.plans):
        return (
            "Nothing fits a budget, because no machine has a price: name some with --price, or give --usd-per-hour.",
        )
    sentences = [_remedy(remedy, terms) for remedy in decision.remedies]
    if not sentences:
        best = max(decision.plans, key=lambda p: p.probability(_bound(p, terms)))
        chance = _chance(best, _bound(best, terms))
        sentences = [f"The best chance is {chance}, with rank {best.entry.rank} on {place(best)}."]
    return ("Nothing fits. " + " ".join(sentences),)


def tries(decision: Decision) -> tuple[str, ...]:
    """How many of the best candidates could be trained for real within the bounds."""
    if decision.tries is None:
        return ()
    within = question(decision.terms).partition("takes ")[2].rpartition(",")[0].replace("at most ", "")
    if decision.tries == 0:
        return (f"Within {within} not even the best one can be tried for real.",)
    usd = "" if decision.tries_usd is None else f"{human_usd(decision.tries_usd)} and "
    if decision.tries == 1:
        return (f"Within {within} the best one can be tried for real: {usd}{human_seconds(decision.tries_seconds)}.",)
    return (
        f"Within {within} the best {decision.tries} can be tried for real, one after the other, each on its cheapest "
        f"machine: {usd}{human_seconds(decision.tries_seconds)} together.",
    )


def place(plan: TrainingPlan) -> str:
    """Where a plan runs, in words."""
    return plan.machine.label


def chances(plan: TrainingPlan, terms: Terms) -> str:
    """The probabilities that a plan meets the deadline and the budget."""
    found = []
    if terms.deadline is not None:
        found.append(f"{_chance(plan, plan.bound(deadline=terms.deadline))} in time")
    if terms.budget_usd is not None and plan.usd is not None:
        found.append(f"{_chance(plan, plan.bound(budget_usd=terms.budget_usd))} within budget")
    return ", ".join(found)


def interval(plan: TrainingPlan) -> str:
    """The 90 % interval of a plan's training time, in words."""
    low, high = plan.quote.low, plan.quote.high
    if low is None:
        return ""
    return f"≥ {human_seconds(low)}" if high is None else f"{human_seconds(low)}–{human_seconds(high)}"


def _chance(plan: TrainingPlan, bound: float) -> str:
    """A probability; never 100 % or 0 % where it is not certain."""
    probability = plan.probability(bound)
    if plan.open_ended and probability == 0.5:
        return "≥ 50\N{NO-BREAK SPACE}%"
    if probability >= 0.995:
        return "> 99\N{NO-BREAK SPACE}%"
    return "< 1\N{NO-BREAK SPACE}%" if 0.0 < probability < 0.005 else f"{100 * probability:.0f}\N{NO-BREAK SPACE}%"


def _bound(plan: TrainingPlan, terms: Terms) -> float:
    return plan.bound(budget_usd=terms.budget_usd, deadline=terms.deadline)


def _remedy(remedy: Remedy, terms: Terms) -> str:
    needs = []
    if remedy.deadline is not None:
        needs.append(f"a deadline of {human_seconds(remedy.deadline)}")
    if remedy.budget_usd is not None:
        needs.append(f"a budget of {human_usd(remedy.budget_usd)}")
    keeps = ""
    if remedy.deadline is None and terms.deadline is not None:
        keeps = f" by the deadline of {human_seconds(terms.deadline)}"
    elif remedy.budget_usd is None and terms.budget_usd is not None:
        keeps = f" within the budget of {human_usd(terms.budget_usd)}"
    sentence = f"{' and '.join(needs)} would do{keeps}: rank {remedy.plan.entry.rank} on {place(remedy.plan)}."
    return sentence[0].upper() + sentence[1:]


def _plans(rows: Sequence[tuple[str, TrainingPlan]], names: Mapping[int, str], terms: Terms) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("")
    table.add_column("#", justify="right")
    table.add_column("candidate", ratio=1, overflow="fold")
    table.add_column("machine", overflow="fold")
    table.add_column("time", justify="right", no_wrap=True)
    table.add_column("90 %", no_wrap=True)
    priced = any(plan.usd is not None for _, plan in rows)
    if priced:
        table.add_column("cost", justify="right", no_wrap=True)
    sure = any(chances(plan, terms) for _, plan in rows)
    if sure:
        table.add_column("chance", overflow="fold")
    for label, plan in rows:
        usd = plan.usd
        untrusted = "" if plan.trusted else " (untrusted)"
        table.add_row(
            label,
            str(plan.entry.rank),
            Text(names[plan.entry.rank] + untrusted),
            Text(place(plan)),
            human_seconds(plan.seconds),
            interval(plan),
            *(("–" if usd is None else human_usd(usd),) if priced else ()),
            *((chances(plan, terms),) if sure else ()),
        )
    return table
