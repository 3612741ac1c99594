"""Section: the ranking as a table that can be sorted and filtered, and the configurations to run."""

from __future__ import annotations

import json
from typing import Any

from raytt.report.memory import DOES_NOT_FIT, fit_notes
from raytt.report.rows import SIGNS, row_of, statuses_of
from raytt.report.section import PageInput, Section


def _contents(page: PageInput) -> dict[str, Any]:
    entries = page.ranking.entries
    return {
        "rows": [row_of(entry, page.names[entry.rank]) for entry in entries],
        "statuses": statuses_of(page.ranking),
        "signs": SIGNS,
        "priced": any(entry.usd is not None for entry in entries),
        "accurate": any(entry.forecast.accuracy is not None for entry in entries),
        "sized": any(entry.fit is not None for entry in entries),
        "fit_notes": fit_notes(entries, page.ranking.provenance.machine or "the machine"),
        "does_not_fit": DOES_NOT_FIT,
        "configs": [json.dumps(entry.candidate.config()) for entry in entries],
        "machine": page.ranking.provenance.machine,
        "price_as_of": page.price_as_of,
    }


def _title(page: PageInput) -> str:
    return "Ranking" if page.ranking.objective is None else f"Cost to {page.ranking.target}"


SECTION = Section(
    id="ranking",
    title=_title,
    heading=_title,
    template="sections/ranking.html.jinja",
    contents=_contents,
)
