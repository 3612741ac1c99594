"""How far to trust a ranking, and why: sentences that follow from what the run holds."""

from __future__ import annotations

from collections import Counter

from raytt.forecast.forecast import Status
from raytt.forecast.reference_check import ReferenceCheck
from raytt.forecast.trust import TRUSTED_PASSES
from raytt.report.diagnostics import agreement
from raytt.results.finished_run import FinishedRun


def reasons(run: FinishedRun) -> tuple[str, ...]:
    """The most telling first: real training, the reference runs, then what the method cannot know."""
    return (*_validated(run), *_references(run), *_samples(run), *_statuses(run), *_interval(run))


def _validated(run: FinishedRun) -> tuple[str, ...]:
    if not run.validation:
        return ("None of these candidates was really trained: predictions were not checked on this task.",)
    found = agreement(run.validation)
    sentences = [f"{len(run.validation)} runs were really trained."]
    if found.median_factor is not None and found.bias is not None and found.within_20 is not None:
        leaning = "over" if found.bias > 1.0 else "under"
        leaning = f"on average time was {leaning}-predicted by a factor of {max(found.bias, 1.0 / found.bias):.2f}."
        sentences.append(
            f"One reached the target as predicted; {leaning.replace('on average ', '')}"
            if found.both == 1
            else f"Of the {found.both} that reached the target as predicted, half were off by less than a factor of "
            f"{found.median_factor:.2f}, and {found.within_20:.0%} were within 20 %; {leaning}"
        )
    if found.with_interval:
        sentences.append(f"Within their 90 % interval of steps: {found.within_interval} of {found.with_interval}.")
    if found.wrong_outcome:
        sentences.append(f"{found.wrong_outcome} ended otherwise than predicted (reached or not).")
    return (" ".join(sentences),)


def _references(run: FinishedRun) -> tuple[str, ...]:
    if len(run.references) == 1:
        (check,) = run.references
        return (
            f"Predictions follow a short real training with {check.candidate.optimizer}. Its own simulation predicts "
            f"{_error(check)}: that is taken out of every candidate, what a single one is off by is not.",
        )
    if run.references:
        errors = ", ".join(f"for {check.candidate.optimizer} {_error(check)}" for check in run.references)
        return (
            f"Predictions follow a short real training with each optimizer. Their own simulations predict {errors}: "
            "that is taken out of every candidate of the optimizer, what a single one is off by is not.",
        )
    return (
        "Training-free: the network is linearized once, at its pre-trained weights. Where features move during "
        "training, it learns faster than predicted here, at times by a multiple: trust the order of magnitude and the "
        "statuses, and try the first few candidates for real.",
    )


def _error(check: ReferenceCheck) -> str:
    if check.step_error is None:
        return "not even the losses it reached"
    return f"{abs(check.step_error):.0%} too {'many' if check.step_error > 0.0 else 'few'} steps"


def _samples(run: FinishedRun) -> tuple[str, ...]:
    facts = run.ranking.provenance
    if facts.num_samples is None or facts.num_samples_full is None:
        return ()
    if facts.num_samples >= facts.num_samples_full:
        return (f"All {facts.num_samples:,} training samples were probed.",)
    return (
        f"{facts.num_samples:,} of {facts.num_samples_full:,} training samples were probed. What training on all of "
        "them does is estimated from simulations with parts of the probed ones, and trusted as long as each is seen no "
        f"more than {TRUSTED_PASSES:g} times.",
    )


def _statuses(run: FinishedRun) -> tuple[str, ...]:
    entries = run.ranking.entries
    counts = Counter(entry.forecast.status for entry in entries)
    untrusted = counts[Status.UNTRUSTED]
    if not untrusted:
        return ()
    if untrusted == sum(entry.forecast.reaches for entry in entries):
        return (
            "Every candidate that reaches the target lies outside the range in which predictions are trusted: what is "
            "first here is a guess, not a recommendation.",
        )
    return (f"{untrusted} of {len(entries)} candidates lie outside the trusted range; they are ranked last.",)


def _interval(run: FinishedRun) -> tuple[str, ...]:
    what = "Intervals are meant to hold 90 % of runs. They cover the noise of minibatches and of the choice of samples"
    paths = run.ranking.provenance.num_paths
    counted = "" if paths is None else f" ({paths} simulated runs per candidate)"
    own = "and what predictions along a reference run were off by in real training of other tasks"
    if not run.references:
        own = "but not the error of the method itself"
    return (f"{what}{counted}, and of the timing of steps, {own}.",)
