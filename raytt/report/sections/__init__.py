"""Sections of the report's page, each in a module of its own beside its template, registered here.

A new section is a module with a `Section`, the template of its contents, and one more entry below, at its place on the
page.
"""

from __future__ import annotations

from raytt.report.section import Section
from raytt.report.sections import (
    curves,
    kernel,
    matters,
    money,
    provenance,
    quality,
    ranking,
    reference,
    trust,
    validation,
)
from raytt.task.registry import Registry

SECTIONS: Registry[Section] = Registry("section")
"""In the order in which they stand on the page; one that has nothing to show is left out."""
for _section in (
    ranking.SECTION,
    curves.SECTION,
    money.SECTION,
    quality.SECTION,
    matters.SECTION,
    trust.SECTION,
    validation.SECTION,
    reference.SECTION,
    kernel.SECTION,
    provenance.SECTION,
):
    SECTIONS.register(_section.id, _section)
