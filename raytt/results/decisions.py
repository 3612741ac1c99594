"""What to train, and on what: plans, those that keep to a budget and a deadline, and the odds that they do.

Notation: a plan is a configuration on a machine; T its training time with median m and 90 % interval (a, b), c its
price per second. T is taken as log-normal on each side of its median: ln T has the standard deviation (ln m − ln a)/z
below and (ln b − ln m)/z above it, z = 1.645 the 95 % quantile of the normal law. Its cost is c·T, so that a budget U
and a deadline D are one bound, T ≤ min(D, U/c).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.special import ndtr, ndtri

from raytt.forecast.forecast import Status
from raytt.forecast.interval import COVERAGE
from raytt.pricing.machine import Machine
from raytt.pricing.quote import Quote, quote
from raytt.pricing.step_key import step_key
from raytt.pricing.step_memory import StepMemory
from raytt.pricing.terms import Terms
from raytt.results.entry import Entry

_Z = float(ndtri(0.5 + COVERAGE / 2.0))


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """One configuration on one machine."""

    entry: Entry
    """The configuration with its forecast."""
    machine: Machine
    """Where it would train."""
    quote: Quote
    """Training time with its interval, and its cost."""

    @property
    def seconds(self) -> float:
        """Median training time, seconds."""
        return self.quote.seconds

    @property
    def usd(self) -> float | None:
        """Its cost, US dollars; None without a price."""
        return self.quote.usd

    @property
    def trusted(self) -> bool:
        """Whether its forecast is."""
        return self.entry.forecast.status is not Status.UNTRUSTED

    @property
    def open_ended(self) -> bool:
        """Whether some simulated runs never got there, so that how long the slowest take is not known."""
        return self.quote.low is not None and self.quote.high is None

    def bound(self, *, budget_usd: float | None = None, deadline: float | None = None) -> float:
        """Longest training time that keeps to both, seconds; infinite for neither, or where nothing is paid."""
        price = self.machine.usd_per_hour
        affordable = math.inf if budget_usd is None or not price else budget_usd / price * 3600.0
        return min(affordable, math.inf if deadline is None else deadline)

    def probability(self, bound: float) -> float:
        """P(T ≤ bound). Where the upper end of the interval is not known, above the median only "at least ½" is."""
        if math.isinf(bound) or self.seconds == 0.0:
            return 1.0
        below = bound < self.seconds
        if bound <= 0.0:
            return 0.0
        spread = self._spread(below=below)
        if spread is None:
            return 0.5
        if spread == 0.0:
            return 0.0 if below else 1.0
        return float(ndtr(math.log(bound / self.seconds) / spread))

    def quantile(self, probability: float) -> float:
        """Training time that is not exceeded with that probability, seconds; infinite where that is not known."""
        if probability == 0.5 or self.seconds == 0.0:
            return self.seconds
        spread = self._spread(below=probability < 0.5)
        if spread is None:
            return self.seconds if probability < 0.5 else math.inf
        return self.seconds * math.exp(float(ndtri(probability)) * spread)

    def usd_at(self, probability: float) -> float:
        """Cost not exceeded with that probability, US dollars; infinite where that or the price is not known."""
        price = self.machine.usd_per_hour
        return math.inf if price is None else self.quantile(probability) / 3600.0 * price

    def _spread(self, *, below: bool) -> float | None:
        """Standard deviation of ln T on one side; None where that end is not known, 0 where there is no interval."""
        if self.quote.low is None:
            return 0.0
        end = self.quote.low if below else self.quote.high
        if end is None or end <= 0.0:
            return None
        return abs(math.log(self.seconds / end)) / _Z


@dataclass(frozen=True, kw_only=True)
class Remedy:
    """What would let something fit."""

    plan: TrainingPlan
    """That which would fit."""
    deadline: float | None
    """The deadline it needs, seconds; None where the given one may stay."""
    budget_usd: float | None
    """The budget it needs, US dollars; None where the given one may stay."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The answer to "what shall I run, and where?"."""

    terms: Terms
    """What was asked."""
    plans: tuple[TrainingPlan, ...]
    """All, cheapest first (fastest first where nothing is priced); those of untrusted forecasts last."""
    cheapest: TrainingPlan | None
    """The cheapest that keeps to budget and deadline; the fastest where nothing is priced."""
    fastest: TrainingPlan | None
    """The fastest that keeps to them."""
    front: tuple[TrainingPlan, ...]
    """Those to which no other is both faster and cheaper, fastest first; without the untrusted unless all are."""
    tries: int | None
    """How many of the best could be trained one after the other, each where it is cheapest, within budget and deadline;
    None without either."""
    tries_usd: float | None
    """What those cost together, US dollars."""
    tries_seconds: float
    """What they take together, seconds."""
    remedies: tuple[Remedy, ...]
    """Where nothing fits: the least changes with which something would; none where nothing ever does."""
    notes: tuple[str, ...] = ()
    """What the user must know about the machines."""

    @property
    def fits(self) -> bool:
        """Whether there is a plan that keeps to budget and deadline."""
        return self.cheapest is not None


def decide(
    entries: Sequence[Entry], machines: Sequence[Machine], terms: Terms, memory: StepMemory | None = None
) -> Decision:
    """Choose among all configurations × machines.

    A plan keeps to a budget and a deadline if it does so with at least the probability ``terms.confidence``; by default
    ½, which is its median. Plans whose forecast is not trusted are chosen only where no other fits. A machine without
    the memory for a configuration makes no plan with it.

    Args:
        entries: The configurations.
        machines: Those to choose from.
        terms: What was asked.
        memory: Of training steps; None where it is not known.
    """
    plans = sorted((p for e in entries for m in machines if (p := _plan(e, m, memory)) is not None), key=_by_cost)
    fitting = [p for p in plans if _keeps(p, terms)]
    chosen = [p for p in fitting if p.trusted] or fitting
    tried = _tries(plans, terms)
    bounded = terms.budget_usd is not None or terms.deadline is not None
    costs = [p.usd for p in tried]
    return Decision(
        terms=terms,
        plans=tuple(plans),
        cheapest=min(chosen, key=_by_cost, default=None),
        fastest=min(chosen, key=_by_time, default=None),
        front=_front([p for p in plans if p.trusted] or plans),
        tries=len(tried) if bounded else None,
        tries_usd=math.fsum(c for c in costs if c is not None) if any(c is not None for c in costs) else None,
        tries_seconds=math.fsum(p.seconds for p in tried),
        remedies=() if fitting else _remedies(plans, terms),
    )


def _plan(entry: Entry, machine: Machine, memory: StepMemory | None) -> TrainingPlan | None:
    forecast, time = entry.forecast, machine.step_times.get(step_key(entry.candidate))
    if forecast.steps is None or time is None:
        return None
    fit = machine.fit(memory, entry.candidate)
    if fit is not None and fit.fits is False:
        return None
    time = time.repeated(entry.candidate.accumulation_steps)
    found = quote(
        forecast.steps,
        seconds_per_step=time.seconds,
        steps_interval=(forecast.low, forecast.high),
        seconds_per_step_interval=(time.low, time.high),
        usd_per_hour=machine.usd_per_hour,
    )
    return TrainingPlan(entry=entry, machine=machine, quote=found)


def _by_cost(plan: TrainingPlan) -> tuple[bool, bool, float, float, int]:
    return (not plan.trusted, plan.usd is None, plan.usd or 0.0, plan.seconds, plan.entry.rank)


def _by_time(plan: TrainingPlan) -> tuple[bool, float, float, int]:
    return (not plan.trusted, plan.seconds, plan.usd or 0.0, plan.entry.rank)


def _keeps(plan: TrainingPlan, terms: Terms) -> bool:
    if terms.budget_usd is not None and plan.usd is None:
        return False
    # The tolerance lets a budget of exactly the median cost pass, whatever the rounding of U/c.
    bound = plan.bound(budget_usd=terms.budget_usd, deadline=terms.deadline) * (1.0 + 1e-12)
    return plan.probability(bound) >= terms.confidence


def _front(plans: Sequence[TrainingPlan]) -> tuple[TrainingPlan, ...]:
    """Plans that are cheaper than all that are at least as fast."""
    front: list[TrainingPlan] = []
    for plan in sorted((p for p in plans if p.usd is not None), key=_by_time):
        if not front or (plan.usd or 0.0) < (front[-1].usd or 0.0):
            front.append(plan)
    return tuple(front)


def _tries(plans: Sequence[TrainingPlan], terms: Terms) -> list[TrainingPlan]:
    """The longest beginning of the ranking that fits when trained one after the other, each on its cheapest machine."""
    cheapest: dict[int, TrainingPlan] = {}
    for plan in plans:
        cheapest.setdefault(plan.entry.rank, plan)
    tried: list[TrainingPlan] = []
    usd = seconds = 0.0
    for rank in sorted(cheapest):
        plan = cheapest[rank]
        usd, seconds = usd + (plan.usd or 0.0), seconds + plan.seconds
        over_budget = terms.budget_usd is not None and (plan.usd is None or usd > terms.budget_usd * (1.0 + 1e-12))
        if over_budget or (terms.deadline is not None and seconds > terms.deadline * (1.0 + 1e-12)):
            break
        tried.append(plan)
    return tried


def _remedies(plans: Sequence[TrainingPlan], terms: Terms) -> tuple[Remedy, ...]:
    """The least changes of the deadline, of the budget, or where neither alone is enough of both."""
    pool = [p for p in plans if p.trusted] or list(plans)
    certain = terms.confidence
    found = []
    if terms.deadline is not None:
        affordable = [p for p in pool if terms.budget_usd is None or p.usd_at(certain) <= terms.budget_usd]
        found += _remedy(affordable, terms, by_time=True, deadline=True)
    if terms.budget_usd is not None:
        quick = [p for p in pool if terms.deadline is None or p.quantile(certain) <= terms.deadline]
        found += _remedy(quick, terms, by_time=False, budget=True)
    return tuple(found or _remedy(pool, terms, by_time=False, deadline=True, budget=True))


def _remedy(
    plans: Sequence[TrainingPlan], terms: Terms, *, by_time: bool, deadline: bool = False, budget: bool = False
) -> list[Remedy]:
    times = [(p.quantile(terms.confidence), p.usd_at(terms.confidence), p) for p in plans]
    usable = [t for t in times if math.isfinite(t[0]) and (not budget or math.isfinite(t[1]))]
    if not usable:
        return []
    seconds, usd, best = min(usable, key=lambda t: (t[0], t[1]) if by_time else (t[1], t[0]))
    return [Remedy(plan=best, deadline=seconds if deadline else None, budget_usd=usd if budget else None)]
