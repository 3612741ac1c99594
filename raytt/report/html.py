"""A finished run as one HTML file that needs nothing else: no network, no scripts to be read, light, dark, on paper."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from markupsafe import Markup

from raytt.errors import InputError
from raytt.pricing.catalog import warn_of_age
from raytt.report import diagnostics, plots
from raytt.report import money as budget
from raytt.report import reasons as trust
from raytt.report.importance import importances
from raytt.report.rows import SIGNS, asset, environment, headline, names_of, row_of
from raytt.report.words import human_seconds, human_usd, shared_by_all
from raytt.results.decisions import Decision
from raytt.results.finished_run import FinishedRun
from raytt.results.ranking import Ranking

SHOWN = 5
"""Candidates whose curves are drawn unless others are asked for."""


def report(run: FinishedRun, *, now: datetime, show: Sequence[int] = ()) -> str:
    """The page.

    Args:
        run: What is reported.
        now: Time of writing; prices are aged against it.
        show: Ranks whose curves are drawn beside those of the first ones.

    Raises:
        InputError: If there is no candidate of such a rank.
    """
    ranking = run.ranking
    decision = ranking.decide()
    names = names_of(ranking)
    shown = _shown(run, show)
    script = asset("report.js")
    page = environment().get_template("report.html.jinja")
    return page.render(
        run=run,
        ranking=ranking,
        decision=decision,
        now=now,
        style=Markup(asset("report.css")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        headline=headline(ranking),
        best=ranking.best,
        price_as_of=next(
            (p.machine.as_of for p in decision.plans if p.machine.label == ranking.provenance.machine), None
        ),
        rows=[row_of(entry, names[entry.rank]) for entry in ranking.entries],
        statuses=[s for s in SIGNS if any(entry.forecast.status is s for entry in ranking.entries)],
        signs=SIGNS,
        shared=shared_by_all([entry.candidate for entry in ranking.entries]),
        priced=any(entry.usd is not None for entry in ranking.entries),
        accurate=any(entry.forecast.accuracy is not None for entry in ranking.entries),
        names=names,
        configs={entry.rank: json.dumps(entry.candidate.config()) for entry in ranking.entries},
        curves=[svg for quantity in plots_of(shown) if (svg := plots.curves(ranking, shown, quantity)) is not None],
        shown=shown,
        tradeoff=plots.tradeoff(decision, names),
        tradeoff_machines=plots.tradeoff_machines(decision),
        question=budget.question(decision.terms),
        nothing_fits=() if decision.fits else budget.nothing_fits(decision),
        tries=budget.tries(decision),
        plans=_plans(decision, names),
        prices=budget.price_lines(ranking.terms, ranking.provenance.usd_per_hour),
        step_sources=budget.step_sources(decision),
        price_notes=(*decision.notes, *warn_of_age(ranking.terms.offers, now.date())),
        heat_maps=_heat_maps(ranking),
        in_dollars=plots.in_dollars(ranking.entries),
        importances=_importances(ranking),
        eigenvalues=None if run.spectrum is None else diagnostics.eigenvalues(run.spectrum),
        alignment=None if run.spectrum is None else diagnostics.alignment(run.spectrum),
        stability=diagnostics.stability(
            ranking.entries,
            run.statistics,
            [names[e.rank] for e in ranking.entries],
            along_path=bool(run.references),
        ),
        references=[(check, diagnostics.reference(check)) for check in run.references],
        validation=diagnostics.validation(run.validation),
        trust=trust.reasons(run),
        # Notes on reference runs stand beside their pictures.
        notes=[note for note in ranking.notes if note not in {check.note for check in run.references}],
        words=diagnostics.words,
        provenance=_provenance(ranking),
        widest_phase=max(ranking.phases.values(), default=0.0),
    )


def plots_of(shown: Sequence[plots.Curve]) -> list[str]:
    """Quantities that any of the curves has."""
    return [
        q
        for q in ("train_loss", "val_loss", "train_accuracy", "val_accuracy")
        if any(q in c.band.curves for c in shown)
    ]


def _shown(run: FinishedRun, show: Sequence[int]) -> list[plots.Curve]:
    entries = {entry.rank: entry for entry in run.ranking.entries}
    for rank in show:
        if rank not in entries:
            raise InputError(f"There is no candidate of rank {rank}.", f"Ranks go from 1 to {len(entries)}.")
    first = [rank for rank in entries if rank not in show][: max(0, min(SHOWN, plots.COLOURS - len(show)))]
    wanted = sorted([*show[: plots.COLOURS], *first])
    return [
        plots.Curve(entry=entries[rank], band=band)
        for rank in wanted
        if (band := run.band(entries[rank].candidate)) is not None
    ]


def _plans(decision: Decision, names: Mapping[int, str]) -> list[dict[str, Any]]:
    """What is chosen and what is on the Pareto front, in words."""
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
            "place": budget.place(plan),
            "as_of": plan.machine.as_of,
            "time": human_seconds(plan.seconds),
            "interval": budget.interval(plan) or "–",
            "cost": "–" if plan.usd is None else human_usd(plan.usd),
            "chances": budget.chances(plan, decision.terms) or "–",
        }
        for label, plan in rows
        if plan is not None
    ]


def _heat_maps(ranking: Ranking) -> list[Markup]:
    found = []
    for optimizer in sorted({entry.candidate.optimizer for entry in ranking.entries}):
        entries = [entry for entry in ranking.entries if entry.candidate.optimizer == optimizer]
        picture = plots.heat_map(entries, key=f"heat-{optimizer}", optimizer=optimizer)
        found += [] if picture is None else [picture]
    return found


def _importances(ranking: Ranking) -> list[tuple[str, float]]:
    there = [e for e in ranking.entries if e.seconds is not None and e.seconds > 0.0]
    found = importances([e.candidate for e in there], [e.seconds for e in there if e.seconds is not None])
    return [(importance.name, importance.share) for importance in found]


def _provenance(ranking: Ranking) -> list[tuple[str, str]]:
    facts = ranking.provenance
    known: list[tuple[str, Any]] = [
        ("Method", ranking.method),
        ("Target", ranking.target),
        ("Samples probed, N", facts.num_samples),
        ("Samples in the training set, N_full", facts.num_samples_full),
        ("Outputs, C", facts.num_outputs),
        ("Trainable parameters, D", facts.num_trainable),
        ("Sketch dimension, R", facts.proj_dim),
        ("Seed", facts.seed),
        ("Simulated runs per candidate, P", facts.num_paths),
        ("Initial training loss", None if facts.initial_loss is None else f"{facts.initial_loss:.4g}"),
        ("Stability limit of plain SGD", None if facts.stability_limit is None else f"lr {facts.stability_limit:.3g}"),
        ("Machine of the ranking", facts.machine),
        ("Time of a step, by batch size", _step_times(ranking)),
    ]
    return [
        (label, f"{value:,}" if isinstance(value, int) and label != "Seed" else str(value))
        for label, value in known
        if value is not None
    ]


def _step_times(ranking: Ranking) -> str | None:
    times = ranking.provenance.step_seconds
    return ", ".join(f"{size}: {human_seconds(times[size])}" for size in sorted(times)) or None
