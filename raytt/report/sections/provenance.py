"""Section: the numbers and versions behind a ranking, and what it took."""

from __future__ import annotations

from typing import Any

from raytt.report.section import PageInput, Section
from raytt.report.words import human_seconds
from raytt.results.ranking import Ranking


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


def _contents(page: PageInput) -> dict[str, Any]:
    ranking = page.ranking
    return {
        "numbers": _provenance(ranking),
        "run_place": page.run.place,
        "phases": ranking.phases,
        "total_seconds": ranking.total_seconds,
        "widest_phase": max(ranking.phases.values(), default=0.0),
        "facts_by_section": page.run.facts,
    }


SECTION = Section(
    id="provenance",
    title="Provenance",
    heading="Provenance",
    template="sections/provenance.html.jinja",
    contents=_contents,
)
