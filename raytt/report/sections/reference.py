"""Section: the reference runs, real against predicted."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from raytt.forecast.reference_check import ReferenceCheck
from raytt.report.section import PageInput, Section
from raytt.report.svg import Axis, Figure
from raytt.report.words import human_steps


def reference(check: ReferenceCheck) -> Markup | None:
    """Real against predicted loss of a reference run; None where no loss is known."""
    pairs = list(zip(check.steps, check.real_loss, check.predicted_loss, strict=True))
    losses = [v for _, *both in pairs for v in both if v is not None and v > 0.0]
    if not losses:
        return None
    figure = Figure(
        f"reference-{check.candidate.optimizer.name}",
        title=f"Training loss of the reference run with {check.candidate.optimizer.name}, real and predicted",
        description=f"{len(pairs)} records up to step {check.steps[-1]:g}; {check.quality}.",
        x=Axis.over(f"Optimizer steps ({check.candidate.optimizer.name})", check.steps, start=0.0, write=human_steps),
        y=Axis.over("Training loss, logarithmic", losses, log=True),
    )
    figure.line([(s, p) for s, _, p in pairs if p is not None], "c1 d1")
    figure.line([(s, r) for s, r, _ in pairs if r is not None], "c0")
    for step, real, _ in pairs:
        if real is not None:
            figure.point(step, real, "c0", tip=f"Step {step:g}: loss {real:.3g}, measured", size=3)
    return figure.svg()


def _contents(page: PageInput) -> dict[str, Any] | None:
    checks = page.run.references
    return {"references": [(check, reference(check)) for check in checks]} if checks else None


def _title(page: PageInput) -> str:
    return "Reference runs" if len(page.run.references) > 1 else "Reference run"


SECTION = Section(
    id="reference",
    title=_title,
    heading=lambda page: f"{_title(page)}: real against predicted",
    template="sections/reference.html.jinja",
    contents=_contents,
)
