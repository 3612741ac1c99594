"""Step times, machines and terms as JSON and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from raytt.pricing.catalog import Offer
from raytt.pricing.machine import Timing
from raytt.pricing.step_key import StepKey, arguments_of, by_size, keyed, step_key
from raytt.pricing.step_memory import StepMemory
from raytt.pricing.step_time import StepTime
from raytt.pricing.terms import OwnTime, Terms
from raytt.pricing.work import StepWork
from raytt.results.decisions import Decision, TrainingPlan
from raytt.results.quality_choice import QualityChoice, QualityPoint
from raytt.task.candidate import checked_arguments


def timing_to_json(timing: Timing) -> dict[str, Any]:
    """Plain numbers, strings and None."""
    return {
        "timed": _by_key(timing.timed),
        "work": _by_key(timing.work),
        "memory": None if timing.memory is None else timing.memory.to_json(),
    }


def timing_from_json(data: Mapping[str, Any]) -> Timing:
    """What `timing_to_json` wrote; nothing is known where it is missing."""
    memory = data.get("memory")
    return Timing(
        timed={key: StepTime(**time) for key, time in map(_with_key, data.get("timed", ()))},
        work={key: StepWork(**work) for key, work in map(_with_key, data.get("work", ()))},
        memory=None if memory is None else StepMemory.from_json(memory),
    )


def _by_key(known: Mapping[StepKey, StepTime] | Mapping[StepKey, StepWork]) -> list[dict[str, Any]]:
    """In order, each with the arguments of the model where there are any."""
    named = {key: dict(arguments_of(key)) for key in sorted(known, key=by_size)}
    return [asdict(known[key]) | ({"model_arguments": own} if own else {}) for key, own in named.items()]


def _with_key(entry: Mapping[str, Any]) -> tuple[StepKey, dict[str, Any]]:
    arguments = checked_arguments(entry.get("model_arguments", {}))
    fields = {name: value for name, value in entry.items() if name != "model_arguments"}
    return keyed(entry["batch_size"], arguments), fields


def terms_to_json(terms: Terms) -> dict[str, Any]:
    """Plain numbers, strings and None."""
    lists = {"offers", "gpus", "efficiency", "own_times"}
    return {k: list(v) if k in lists and v is not None else v for k, v in asdict(terms).items()}


def terms_from_json(data: Mapping[str, Any]) -> Terms:
    """What `terms_to_json` wrote; the default terms where it is missing."""
    given = dict(data)
    if given.get("efficiency") is not None:
        given["efficiency"] = tuple(given["efficiency"])
    return Terms(
        **given
        | {
            "offers": tuple(Offer(**offer) for offer in given.get("offers", ())),
            "own_times": tuple(OwnTime(**time) for time in given.get("own_times", ())),
            "gpus": tuple(given.get("gpus", (1,))),
        }
    )


def decision_to_json(decision: Decision) -> dict[str, Any]:
    """The answer as plain numbers, strings and None; no number is NaN or infinite."""
    return {
        "terms": terms_to_json(decision.terms),
        "fits": decision.fits,
        "cheapest": None if decision.cheapest is None else _plan(decision.cheapest, decision.terms),
        "fastest": None if decision.fastest is None else _plan(decision.fastest, decision.terms),
        "pareto_front": [_plan(plan, decision.terms) for plan in decision.front],
        "plans": [_plan(plan, decision.terms) for plan in decision.plans],
        "tries": decision.tries,
        "tries_usd": decision.tries_usd,
        "tries_seconds": decision.tries_seconds,
        "remedies": [
            {
                "deadline": remedy.deadline,
                "budget_usd": remedy.budget_usd,
                "plan": _plan(remedy.plan, decision.terms),
            }
            for remedy in decision.remedies
        ],
        "notes": list(decision.notes),
    }


def quality_choice_to_json(choice: QualityChoice) -> dict[str, Any]:
    """The answer as plain numbers, strings and None; no number is NaN or infinite."""
    return {
        "objective": choice.objective.name,
        "best": None if choice.best is None else _quality_point(choice.best),
        "front": [_quality_point(point) for point in choice.front],
    }


def _quality_point(point: QualityPoint) -> dict[str, Any]:
    return {
        "rank": point.entry.rank,
        "config": point.entry.candidate.config(),
        "machine": point.machine.name,
        "gpus": point.machine.gpus,
        "steps": point.step,
        "to_the_end": point.ends,
        "value": point.estimate.value,
        "low": point.estimate.low,
        "high": point.estimate.high,
        "seconds": point.seconds,
        "usd": point.usd,
    }


def _plan(plan: TrainingPlan, terms: Terms) -> dict[str, Any]:
    machine = plan.machine
    candidate = plan.entry.candidate
    time = machine.step_times[step_key(candidate)].repeated(candidate.accumulation_steps)
    return {
        "rank": plan.entry.rank,
        "config": candidate.config(),
        "status": plan.entry.forecast.status.value,
        "machine": machine.name,
        "gpus": machine.gpus,
        "instances": machine.instances,
        "usd_per_hour": machine.usd_per_hour,
        "price_as_of": machine.as_of,
        "seconds": plan.quote.seconds,
        "seconds_low": plan.quote.low,
        "seconds_high": plan.quote.high,
        "usd": plan.quote.usd,
        "seconds_per_step": time.seconds,
        "seconds_per_step_low": time.low,
        "seconds_per_step_high": time.high,
        "step_source": time.source,
        "probability_by_deadline": None
        if terms.deadline is None
        else plan.probability(plan.bound(deadline=terms.deadline)),
        "probability_within_budget": None
        if terms.budget_usd is None or plan.usd is None
        else plan.probability(plan.bound(budget_usd=terms.budget_usd)),
    }
