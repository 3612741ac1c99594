"""What a section of the report's page is, and what it is made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from markupsafe import Markup

from raytt.report.rows import names_of
from raytt.report.templates import environment
from raytt.results.decisions import Decision
from raytt.results.finished_run import FinishedRun
from raytt.results.ranking import Ranking


@dataclass(frozen=True, kw_only=True)
class PageInput:
    """What sections are made from."""

    run: FinishedRun
    """What is reported."""
    decision: Decision
    """Under the ranking's own terms."""
    names: Mapping[int, str]
    """The settings in which each candidate differs from the others, by rank."""
    now: datetime
    """Time of writing; prices are aged against it."""
    show: Sequence[int]
    """Ranks of candidates that are to be drawn besides the first ones."""

    @classmethod
    def of(cls, run: FinishedRun, *, now: datetime, show: Sequence[int] = ()) -> PageInput:
        """All of it from a run."""
        return cls(run=run, decision=run.ranking.decide(), names=names_of(run.ranking), now=now, show=show)

    @property
    def ranking(self) -> Ranking:
        """The ranking of the run."""
        return self.run.ranking

    @property
    def price_as_of(self) -> str | None:
        """Date of the price of the machine on which the ranking is priced; None where it has none."""
        label = self.ranking.provenance.machine
        return next((p.machine.as_of for p in self.decision.plans if p.machine.label == label), None)


Wording = str | Callable[[PageInput], str]


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """A section as it stands on a page."""

    id: str
    """Of its element."""
    title: str
    """Its entry in the list of sections at the top of the page."""
    heading: str
    """Above its contents."""
    body: Markup
    """Its contents."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """A section: its entry in the list at the top of the page, its heading, and its contents."""

    id: str
    """Of its element; links to it end in ``#id``."""
    title: Wording
    """Its entry in the list of sections at the top of the page."""
    heading: Wording
    """Above its contents."""
    template: str
    """The template of its contents, a file under ``raytt/report``."""
    contents: Callable[[PageInput], Mapping[str, Any] | None]
    """The variables of that template; None where the section has nothing to show and is left out."""

    def render(self, page: PageInput) -> Rendered | None:
        """The section of this page; None where it has nothing to show."""
        contents = self.contents(page)
        if contents is None:
            return None
        return Rendered(
            id=self.id,
            title=_worded(self.title, page),
            heading=_worded(self.heading, page),
            body=Markup(environment().get_template(self.template).render(contents)),
        )


def _worded(words: Wording, page: PageInput) -> str:
    return words if isinstance(words, str) else words(page)
