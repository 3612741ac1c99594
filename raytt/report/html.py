"""A finished run as one self-contained HTML file: no network, readable without scripts, light, dark and in print.

The page is a heading with the answer, and the sections of `raytt.report.sections`.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from datetime import datetime

from markupsafe import Markup

from raytt.report.rows import headline, row_of
from raytt.report.section import PageInput
from raytt.report.sections import SECTIONS, quality
from raytt.report.templates import asset, environment
from raytt.report.words import shared_by_all
from raytt.results.finished_run import FinishedRun


def report(run: FinishedRun, *, now: datetime, show: Sequence[int] = ()) -> str:
    """The page.

    Args:
        run: What is reported.
        now: Time of writing; prices are aged against it.
        show: Ranks whose curves are drawn beside those of the first ones.

    Raises:
        InputError: If there is no candidate of such a rank.
    """
    page = PageInput.of(run, now=now, show=show)
    ranking, best = page.ranking, page.ranking.best
    sections = [found for section in SECTIONS if (found := section.render(page)) is not None]
    if ranking.objective is not None:
        # What was asked for first.
        sections.sort(key=lambda section: section.id != quality.SECTION.id)
    script = asset("report.js")
    return (
        environment()
        .get_template("report.html.jinja")
        .render(
            ranking=ranking,
            now=now,
            style=Markup(asset("report.css")),
            script=Markup(script),
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            headline=headline(ranking),
            shared=shared_by_all([entry.candidate for entry in ranking.entries]),
            best=best,
            best_row=None if best is None else row_of(best, page.names[best.rank]),
            config_of_best=None if best is None else json.dumps(best.candidate.config()),
            price_as_of=page.price_as_of,
            sections=sections,
            quality_card=None if ranking.objective is None else quality.card(ranking),
        )
    )
