"""Figures of the report that say how far to trust it: spectrum, stability limit, reference run, validation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from raytt.dynamics.kernel.spectrum import Spectrum
from raytt.dynamics.kernel.statistics import Statistics
from raytt.forecast.forecast import Status
from raytt.forecast.reference_check import ReferenceCheck
from raytt.forecast.trust import EDGE_SHARE
from raytt.report.plots import short
from raytt.report.svg import Axis, Figure, power
from raytt.report.words import human_steps
from raytt.results.entry import Entry
from raytt.results.finished_run import Validated

LEAST_SPAN = 3.0
"""Real and predicted steps are drawn on axes that reach at least this factor from their middle."""
MOST_POINTS = 200
"""Eigenvalues that are drawn, evenly spread on the logarithmic axis."""
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
    """Shares of the residual and of the trace that the first k eigenvectors hold; None without any."""
    count = len(spectrum.eigenvalues)
    total = float(spectrum.projections.sum()) + spectrum.remainder
    if count < 2 or total <= 0.0:
        return None
    ranks = _ranks(count)
    residual = np.cumsum(spectrum.projections)[ranks - 1] / total
    trace = np.cumsum(spectrum.eigenvalues)[ranks - 1] / spectrum.eigenvalues.sum()
    figure = Figure(
        "alignment",
        title="How much of the residual lies along the leading eigenvectors",
        description=f"The first eigenvector holds {residual[0]:.0%} of the residual, all {count} hold "
        f"{residual[-1]:.0%}; a curve near the upper left is learned fast.",
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
    """How near the SGD candidates' peak learning rates are to the edge, by status; None where that is not known.

    Args:
        entries: The ranking.
        statistics: At the pre-trained weights.
        names: What tells the candidates from each other.
        along_path: Whether predictions follow reference runs: then no share of this limit decides on trust.
    """
    shown = [(e, n) for e, n in zip(entries, names, strict=True) if e.candidate.optimizer == "sgd"]
    if statistics is None or not shown or not math.isfinite(statistics.stability_limit()):
        return None
    shares = [
        statistics.stability_share(e.candidate.lr, e.candidate.momentum, nesterov=e.candidate.nesterov)
        for e, _ in shown
    ]
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
        # Spread over the lane by rank, so that marks at one place can be told apart, below its name.
        spread = 0.55 * ((entry.rank * 0.618) % 1.0) - 0.42
        css = f"s-{entry.forecast.status.name.lower().replace('_', '-')}"
        tip = f"Rank {entry.rank} ({name}): {entry.forecast.status.value}, {share:.2g} of the limit"
        figure.point(share, lane + spread, css, tip=tip, shape=_LANES.index(entry.forecast.status), size=4)
    for row, status in enumerate(lanes):
        figure.text(
            figure.x.low, row + 0.5, status.value, "strong", shift=(6.0, 28.0 if row == len(lanes) - 1 else 14.0)
        )
    return figure.svg()


def reference(check: ReferenceCheck) -> Markup | None:
    """Real against predicted loss of a reference run; None where no loss is known."""
    pairs = list(zip(check.steps, check.real_loss, check.predicted_loss, strict=True))
    losses = [v for _, *both in pairs for v in both if v is not None and v > 0.0]
    if not losses:
        return None
    figure = Figure(
        f"reference-{check.candidate.optimizer}",
        title=f"Training loss of the reference run with {check.candidate.optimizer}, real and predicted",
        description=f"{len(pairs)} records up to step {check.steps[-1]:g}; {check.quality}.",
        x=Axis.over(f"Optimizer steps ({check.candidate.optimizer})", check.steps, start=0.0, write=human_steps),
        y=Axis.over("Training loss, logarithmic", losses, log=True),
    )
    figure.line([(s, p) for s, _, p in pairs if p is not None], "c1 d1")
    figure.line([(s, r) for s, r, _ in pairs if r is not None], "c0")
    for step, real, _ in pairs:
        if real is not None:
            figure.point(step, real, "c0", tip=f"Step {step:g}: loss {real:.3g}, measured", size=3)
    return figure.svg()


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How well predictions agree with real training."""

    both: int
    """Runs that reached the target, and of which that was predicted."""
    median_factor: float | None
    """Median of exp |ln(predicted/real)|; None without such runs."""
    bias: float | None
    """exp of the mean ln(predicted/real): above 1 where time is over-predicted."""
    within_20: float | None
    """Share of them within 20 %."""
    wrong_outcome: int
    """Runs that reached the target against the prediction, or the other way round."""
    with_interval: int
    """Runs that reached the target, and of which there is a 90 % interval."""
    within_interval: int
    """Those of them that lie in it."""


def agreement(runs: Sequence[Validated]) -> Agreement:
    """Over all validated runs."""
    ratios = [r.predicted_steps / r.real_steps for r in runs if r.predicted_steps and r.real_steps]
    logs = [math.log(ratio) for ratio in ratios]
    return Agreement(
        both=len(ratios),
        median_factor=math.exp(float(np.median(np.abs(logs)))) if logs else None,
        bias=math.exp(float(np.mean(logs))) if logs else None,
        within_20=sum(abs(ratio - 1.0) <= 0.2 for ratio in ratios) / len(ratios) if ratios else None,
        wrong_outcome=sum((r.predicted_steps is None) != (r.real_steps is None) for r in runs),
        with_interval=sum(r.within is not None for r in runs),
        within_interval=sum(r.within is True for r in runs),
    )


def words(config: Mapping[str, Any]) -> str:
    """A configuration in short: hyperparameters and their values, numbers in three digits."""
    written = {k: f"{v:.3g}" if isinstance(v, float) else str(v) for k, v in config.items()}
    return ", ".join(f"{k} {v}" for k, v in written.items() if (k, v) != ("optimizer", "sgd"))


def validation(runs: Sequence[Validated]) -> Markup | None:
    """Predicted steps and their 90 % interval against real steps, with the 20 % band; None where no run has both."""
    both = [r for r in runs if r.predicted_steps and r.real_steps]
    if not both:
        return None
    values = [v for r in both for v in (r.predicted_steps, r.real_steps, r.predicted_low, r.predicted_high) if v]
    # Never so narrow that the band of 20 % fills the picture.
    middle = math.sqrt(min(values) * max(values))
    axis = Axis.over("", [*values, middle / LEAST_SPAN, middle * LEAST_SPAN], log=True, write=human_steps)
    figure = Figure(
        "validation",
        title="Predicted against real steps to the target",
        description=f"{len(both)} really trained; the band holds predictions within 20 %, bars are 90 % intervals.",
        x=Axis(label="Real steps, logarithmic", low=axis.low, high=axis.high, log=True, write=human_steps),
        y=Axis(label="Predicted steps, logarithmic", low=axis.low, high=axis.high, log=True, write=human_steps),
    )
    ends = (axis.low, axis.high)
    figure.band([(v, 0.8 * v) for v in ends], [(v, 1.2 * v) for v in ends], "c0")
    figure.line([(v, v) for v in ends], "limit")
    for run in both:
        if run.predicted_low and run.real_steps:
            high = axis.high if run.predicted_high is None else run.predicted_high
            figure.line([(run.real_steps, run.predicted_low), (run.real_steps, high)], "c0")
        figure.point(
            run.real_steps or 1.0,
            run.predicted_steps or 1.0,
            "c0",
            tip=f"{words(run.config)}, seed {run.seed}: {run.predicted_steps:.0f} predicted, {run.real_steps:.0f} real",
        )
    return figure.svg()
