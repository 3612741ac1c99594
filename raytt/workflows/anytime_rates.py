"""Descent rates of all families, with as many minibatches as they need and the ranking may cost.

`FEWEST` minibatches a rate first. Where these leave the ratio of two batch sizes' rates less well known than `TOLD`,
and the ranking's share of the cost of training allows, all rates are measured again with more of them: the number
that is expected to be enough, up to `MOST`. Again rather than further, because the products of all pairs of minibatches
count: where noise prevails, 16 minibatches have four times the pairs of 8, and two times 8 only twice as many.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from raytt.cluster.stages.descent_rates import BLOCKS, RateRequest, measure_rates
from raytt.cluster.stages.training_references import SavedReference
from raytt.forecast.family_rates import FamilyRates, Scale, scale_of
from raytt.forecast.second_run import SecondRun
from raytt.forecast.spending import Spending, step_seconds
from raytt.pricing.step_key import StepKey
from raytt.pricing.step_time import StepTime
from raytt.rates.lag import LagTable
from raytt.rates.rate_table import Batch, batch_of, samples_of
from raytt.rates.signal import Signal
from raytt.task.candidate import Candidate
from raytt.workflows.plan import RankPlan
from raytt.workflows.workspace import Workspace

FEWEST = BLOCKS
"""Minibatches a rate at first: as many as there are blocks. With 8, 16, 32 and 64 median errors of AdamW were 8.9, 7.4,
9.2 and 8.3 % on a small batch-norm network, 7.5, 5.8, 6.1 and 6.1 % on one with layer norm (``python -m
benchmarks.rates``, 2026-11-29)."""
MOST = 32
"""… and at most: more changed nothing in the same table."""
TOLD = 0.07
"""Standard error of ln of a mean rate with which measuring ends. Beside the model error of 0.15 it widens an interval
by a tenth."""

Key = tuple[str, Scale]


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """Rates, and what they cost."""

    rates: Mapping[Key, FamilyRates]
    """By optimizer family and way of scaling gradients."""
    minibatches: int
    """Per rate."""
    spending: Spending
    """After them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Wanted:
    """What is to be measured of one family."""

    reference: SavedReference
    lag: LagTable | None
    batch_norms: bool
    second: SecondRun | None
    scales: Mapping[Scale, Candidate]
    """The reference's own way of scaling gradients first: others are measured beside it, from the same gradients."""
    sizes: Mapping[Batch, Candidate]
    """A candidate of each batch size, by samples a step."""

    def requests(self) -> list[RateRequest]:
        """One per saved state and batch size."""
        return [
            RateRequest(reference=self.reference, point=point, batch=size, scales=tuple(self.scales.values()))
            for point in range(len(self.reference.states))
            for size in self.sizes
        ]

    def seconds(self, timed: Mapping[StepKey, StepTime]) -> float:
        """What one minibatch a rate costs: a step for each, of which the update is a small part."""
        return len(self.reference.states) * sum(step_seconds(c, timed) for c in self.sizes.values())


def measure_within(
    references: Sequence[SavedReference],
    lags: Sequence[LagTable | None],
    candidates: Sequence[Candidate],
    plan: RankPlan,
    space: Workspace,
    *,
    second: Mapping[str, SecondRun],
    batch_norms: bool,
    timed: Mapping[StepKey, StepTime],
    spending: Spending,
) -> Measured:
    """Rates of every way of scaling gradients and every batch size at all saved states of each family.

    Args:
        references: The reference runs.
        lags: How running statistics lag behind along each.
        candidates: All of them.
        plan: ``estimator.minibatches``, where it is given, is what is measured, at any cost.
        space: What all stages share.
        second: By family, runs at other learning rates, where there are any.
        batch_norms: Whether the network has batch norms that use the statistics of each minibatch.
        timed: Seconds of a step by batch size and network.
        spending: What may be spent.
    """
    wanted = [
        _wanted(r, lag, candidates, batch_norms=batch_norms, second=second.get(r.family))
        for r, lag in zip(references, lags, strict=True)
    ]
    if not wanted:
        return Measured(rates={}, minibatches=0, spending=spending)
    each = sum(family.seconds(timed) for family in wanted)
    asked, first = plan.estimator.minibatches, _first(plan)
    rates = _measure(wanted, first, plan, space)
    spending = spending.plus(first * each)
    if asked is not None:
        return Measured(rates=rates, minibatches=first, spending=spending)
    more = minibatches_needed(max(_error(family) for family in rates.values()), affordable=spending.left / each)
    if more is None:
        return Measured(rates=rates, minibatches=first, spending=spending)
    try:
        rates = _measure(wanted, more, plan, space)
    except KeyboardInterrupt:
        space.reporter.say(f"Interrupted: ranking with {first} minibatches a rate. Interrupt again to stop.")
        return Measured(rates=rates, minibatches=first, spending=spending)
    return Measured(rates=rates, minibatches=more, spending=spending.plus(more * each))


def along_own(
    references: Sequence[SavedReference], candidates: Sequence[Candidate], plan: RankPlan, space: Workspace
) -> list[FamilyRates]:
    """Rates along each reference run at its own batch size alone, from the first number of minibatches.

    `measure_within` takes them over from the run directory.
    """
    wanted = [_wanted(reference, None, candidates) for reference in references]
    own = [replace(one, sizes={batch_of(one.reference.candidate): one.reference.candidate}) for one in wanted]
    found = _measure(own, _first(plan), plan, space) if own else {}
    return [found[one.reference.family, next(iter(one.scales))] for one in own]


def _first(plan: RankPlan) -> int:
    """Minibatches a rate that are measured first."""
    return FEWEST if plan.estimator.minibatches is None else plan.estimator.minibatches


def minibatches_needed(error: float, *, affordable: float) -> int | None:
    """How many minibatches a rate to measure after `FEWEST` gave an error; None: what there is will do, or has to.

    Errors fall with 1/√K at least, with 1/K where noise prevails: the first is reckoned with.

    Args:
        error: Largest standard error of ln of a mean rate.
        affordable: Minibatches a rate that may still be paid for.
    """
    if error <= TOLD:
        return None
    enough = FEWEST * (error / TOLD) ** 2 if math.isfinite(error) else math.inf
    whole = FEWEST * int(min(enough + FEWEST - 1, affordable, MOST) // FEWEST)
    return whole if whole >= 2 * FEWEST else None


def _error(family: FamilyRates) -> float:
    _, errors = family.table()
    return float(np.max(errors))


def _wanted(
    reference: SavedReference,
    lag: LagTable | None,
    candidates: Sequence[Candidate],
    *,
    batch_norms: bool = False,
    second: SecondRun | None = None,
) -> _Wanted:
    base = reference.candidate
    own = sorted((c for c in candidates if c.family == reference.family), key=Candidate.sort_key)
    scales = {scale_of(base.optimizer): base}
    sizes: dict[Batch, Candidate] = {}
    for candidate in (base, *own):
        scales.setdefault(scale_of(candidate.optimizer), candidate)
        sizes.setdefault(batch_of(candidate), candidate)
    ordered = sorted(sizes, key=lambda batch: (samples_of(batch), str(batch)))
    return _Wanted(
        reference=reference,
        lag=lag,
        batch_norms=batch_norms,
        second=second,
        scales=scales,
        sizes={size: sizes[size] for size in ordered},
    )


def _measure(wanted: Sequence[_Wanted], minibatches: int, plan: RankPlan, space: Workspace) -> dict[Key, FamilyRates]:
    requests = [request for family in wanted for request in family.requests()]
    with space.reporter.phase("rates", "minibatch gradients along the reference run") as phase:
        signals = measure_rates(
            space.timed_ref,
            requests,
            minibatches=minibatches,
            seed=plan.ranking.seed,
            resources=space.worker,
            num_workers=space.num_probers,
            run=space.run,
            files=space.files,
            phase=phase,
        )
    measured = {
        (request.reference.family, request.point, request.batch): found
        for request, found in zip(requests, signals, strict=True)
    }
    return {
        (family.reference.family, scale): _family(family, number, measured)
        for family in wanted
        for number, scale in enumerate(family.scales)
    }


def _family(wanted: _Wanted, number: int, measured: Mapping[tuple[str, int, Batch], Sequence[Signal]]) -> FamilyRates:
    reference, sizes = wanted.reference, list(wanted.sizes)
    name, points = reference.family, range(len(reference.states))
    first = [(samples_of(size), measured[name, 0, size][number].loss) for size in sizes]
    start = sum(samples * loss for samples, loss in first) / sum(samples for samples, _ in first)
    return FamilyRates(
        reference=replace(reference, start_loss=start),
        batch_sizes=tuple(sizes),
        own=[[measured[name, point, size][number] for size in sizes] for point in points],
        base=[measured[name, point, batch_of(reference.candidate)][0] for point in points],
        lag=wanted.lag,
        batch_norms=wanted.batch_norms,
        second=wanted.second,
    )
