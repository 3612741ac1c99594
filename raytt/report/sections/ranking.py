"""Section: the ranking as a table that can be sorted and filtered, and the configurations to run."""

from __future__ import annotations

import json
from typing import Any

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
        "configs": [json.dumps(entry.candidate.config()) for entry in entries],
        "machine": page.ranking.provenance.machine,
        "price_as_of": page.price_as_of,
    }


SECTION = Section(
    id="ranking",
    title="Ranking",
    heading="Ranking",
    template="sections/ranking.html.jinja",
    contents=_contents,
)
