"""Section: the spectrum of the Gram matrix, and learning rates as shares of the stability limit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from raytt.dynamics.kernel.spectrum import Spectrum
from raytt.dynamics.kernel.statistics import Statistics
from raytt.forecast.forecast import Status
from raytt.forecast.trust import EDGE_SHARE
from raytt.report.section import PageInput, Section
from raytt.report.svg import Axis, Figure, power
from raytt.report.words import human_steps, short
from raytt.results.entry import Entry
from raytt.task.optimizers import Adaptive

MOST_POINTS = 200
"""Largest number of eigenvalues drawn, evenly spaced on the logarithmic axis. A convention of presentation."""
_LANES = (Status.REACHED, Status.UNTRUSTED, Status.NOISE_FLOOR, Status.NOT_REACHED, Status.UNSTABLE)


def eigenvalues(spectrum: Spectrum) -> Markup | None:
    """κ_k over k; None without any."""
    count = len(spectrum.eigenvalues)
    if count < 2:
        return None
    ranks = _ranks(count)
    values = spectrum.eigenvalues[ranks - 1]
    figure = Figure(
        "eigenvalues",
        title="Eigenvalues of the Gram matrix over their rank",
        description=f"{count} eigenvalues from {values[0]:.3g} down to {values[-1]:.3g}, both axes logarithmic.",
        x=Axis.over("Rank k, logarithmic", [1.0, count], log=True, start=1.0, write=human_steps),
        y=Axis.over("Eigenvalue κ of Θ/N, logarithmic", values, log=True, write=power),
    )
    figure.line([(float(k), float(v)) for k, v in zip(ranks, values, strict=True)], "c0")
    return figure.svg()


def alignment(spectrum: Spectrum) -> Markup | None:
    """Shares of the squared residual and of the trace in the first k eigenvectors; None without any."""
    count = len(spectrum.eigenvalues)
    total = float(spectrum.projections.sum()) + spectrum.remainder
    if count < 2 or total <= 0.0:
        return None
    ranks = _ranks(count)
    residual = np.cumsum(spectrum.projections)[ranks - 1] / total
    trace = np.cumsum(spectrum.eigenvalues)[ranks - 1] / spectrum.eigenvalues.sum()
    figure = Figure(
        "alignment",
        title="Share of the squared residual along the leading eigenvectors",
        description=f"The first eigenvector carries {residual[0]:.0%} of the squared residual, all {count} carry "
        f"{residual[-1]:.0%}; a curve near the upper left means fast initial training.",
        x=Axis.over("First k eigenvectors, logarithmic", [1.0, count], log=True, start=1.0, write=human_steps),
        y=Axis(label="Share", low=0.0, high=1.02, write="{:.0%}".format, at=(0.0, 0.2, 0.4, 0.6, 0.8, 1.0)),
    )
    figure.line([(float(k), float(v)) for k, v in zip(ranks, trace, strict=True)], "c1 d1")
    figure.line([(float(k), float(v)) for k, v in zip(ranks, residual, strict=True)], "c0")
    return figure.svg()


def _ranks(count: int) -> np.ndarray:
    return np.unique(np.round(np.geomspace(1, count, min(count, MOST_POINTS))).astype(np.int64))


def stability(
    entries: Sequence[Entry], statistics: Statistics | None, names: Sequence[str], *, along_path: bool
) -> Markup | None:
    """Peak learning rates over the stability limit, by status; None where it is not known.

    Args:
        entries: The ranking.
        statistics: At the pre-trained weights.
        names: The settings in which the candidates differ.
        along_path: Whether predictions follow reference runs: then trust does not depend on this limit.
    """
    shown = [(e, n) for e, n in zip(entries, names, strict=True) if not isinstance(e.candidate.optimizer, Adaptive)]
    if statistics is None or not shown or not math.isfinite(statistics.stability_limit()):
        return None
    shares = [statistics.stability_share(e.candidate.optimizer, e.candidate.lr) for e, _ in shown]
    lanes = [status for status in _LANES if any(entry.forecast.status is status for entry, _ in shown)]
    figure = Figure(
        "stability",
        title="Peak learning rates as shares of the stability limit, by predicted status",
        description=f"{len(shown)} candidates; without momentum the limit is lr = {statistics.stability_limit():.3g}.",
        x=Axis.over(
            "Share of the stability limit, logarithmic",
            [*shares, *([] if along_path else [EDGE_SHARE]), 1.0],
            log=True,
            write=short,
        ),
        y=Axis(
            label="Predicted status",
            low=-0.5,
            high=len(lanes) - 0.5,
            write=lambda row: "",
            at=tuple(row + 0.5 for row in range(len(lanes) - 1)),
        ),
    )
    figure.rule(x=1.0, text="limit")
    if not along_path:
        figure.rule(x=EDGE_SHARE, text=f"trusted up to {EDGE_SHARE:g}", left=True)
    for (entry, name), share in zip(shown, shares, strict=True):
        lane = lanes.index(entry.forecast.status)
        # Spread over the lane by rank, below its name, so that marks do not cover each other.
        spread = 0.55 * ((entry.rank * 0.618) % 1.0) - 0.42
        css = f"s-{entry.forecast.status.name.lower().replace('_', '-')}"
        tip = f"Rank {entry.rank} ({name}): {entry.forecast.status.value}, {share:.2g} of the limit"
        figure.point(share, lane + spread, css, tip=tip, shape=_LANES.index(entry.forecast.status), size=4)
    for row, status in enumerate(lanes):
        figure.text(
            figure.x.low, row + 0.5, status.value, "strong", shift=(6.0, 28.0 if row == len(lanes) - 1 else 14.0)
        )
    return figure.svg()


def _contents(page: PageInput) -> dict[str, Any] | None:
    run, entries = page.run, page.ranking.entries
    along_path = bool(run.references)
    figures = {
        "eigenvalues": None if run.spectrum is None else eigenvalues(run.spectrum),
        "alignment": None if run.spectrum is None else alignment(run.spectrum),
        "stability": stability(
            entries, run.statistics, [page.names[entry.rank] for entry in entries], along_path=along_path
        ),
    }
    if not any(figures.values()):
        return None
    return {**figures, "spectrum": run.spectrum, "along_path": along_path}


SECTION = Section(
    id="kernel",
    title="Spectrum and stability",
    heading="Spectrum and stability",
    template="sections/kernel.html.jinja",
    contents=_contents,
)
