"""Section: how far to trust a ranking, and why, in sentences derived from the contents of a finished run."""

from __future__ import annotations

from collections import Counter
from typing import Any

from raytt.forecast.forecast import Status
from raytt.forecast.reference_check import ReferenceCheck
from raytt.forecast.trust import TRUSTED_PASSES
from raytt.report.agreement import agreement
from raytt.report.section import PageInput, Section
from raytt.results.finished_run import FinishedRun


def reasons(run: FinishedRun) -> tuple[str, ...]:
    """The most important first: real training, the reference runs, then the limits of the method."""
    return (*_validated(run), *_references(run), *_samples(run), *_statuses(run), *_interval(run))


def _validated(run: FinishedRun) -> tuple[str, ...]:
    if not run.validation:
        return ("None of these candidates was trained for real: predictions were not validated on this task.",)
    found = agreement(run.validation)
    sentences = [f"{len(run.validation)} runs were trained for real."]
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
    if run.ranking.method == "rates":
        return (
            "Predictions follow a short real training with each optimizer, in training mode, by the descent rates and "
            "the noise of minibatches along it: trust falls with the distance from that run's learning rate and beyond "
            "the loss at which it stopped.",
        )
    if len(run.references) == 1:
        (check,) = run.references
        return (
            f"Predictions follow a short real training with {check.candidate.optimizer.name}. The simulation of that "
            f"run predicts {_error(check)}: every candidate is corrected for this bias, not for errors of its own.",
        )
    if run.references:
        errors = ", ".join(f"for {check.candidate.optimizer.name} {_error(check)}" for check in run.references)
        return (
            f"Predictions follow a short real training with each optimizer. The simulations of these runs predict "
            f"{errors}: every candidate of the optimizer is corrected for this bias, not for errors of its own.",
        )
    return (
        "Training-free: the network is linearized once, at its pre-trained weights. Where features change during "
        "training, real training is faster than predicted here, at times several-fold: trust the order of magnitude "
        "and the statuses, and train the first few candidates for real.",
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
        f"{facts.num_samples:,} of {facts.num_samples_full:,} training samples were probed. {_subset(run)} Forecasts "
        f"are trusted as long as each probed sample is seen no more than {TRUSTED_PASSES:g} times.",
    )


def _subset(run: FinishedRun) -> str:
    """How the overfitting of a probed subset is dealt with: see `raytt.workflows.plan.RankPlan.lifts`."""
    ranking = run.ranking
    if ranking.method == "sde":
        return "Simulations train on these alone, which are overfitted faster than the whole set, uncorrected."
    if ranking.target.needs_validation or not run.references:
        return "Curves of training on all of them are extrapolated from simulations on subsets of the probed ones."
    return (
        "Simulations train on these alone, which are overfitted faster than the whole set; the correction measured on "
        "the reference run includes this effect as far down as that run went."
    )


def _statuses(run: FinishedRun) -> tuple[str, ...]:
    entries = run.ranking.entries
    counts = Counter(entry.forecast.status for entry in entries)
    untrusted = counts[Status.UNTRUSTED]
    if not untrusted:
        return ()
    if untrusted == sum(entry.forecast.reaches for entry in entries):
        return (
            "Every candidate that reaches the target is outside the range in which predictions are trusted: the first "
            "one here is a guess, not a recommendation.",
        )
    return (f"{untrusted} of {len(entries)} candidates lie outside the trusted range; they are ranked last.",)


def _interval(run: FinishedRun) -> tuple[str, ...]:
    if run.ranking.method == "rates":
        return (
            "Intervals have a nominal coverage of 90 %. They include the noise of the rates and the error of such "
            "predictions on other, small networks; their coverage was not measured yet.",
        )
    what = "Intervals have a nominal coverage of 90 %. They include minibatch noise and the sampling of the data"
    paths = run.ranking.provenance.num_paths
    counted = "" if paths is None else f" ({paths} simulated runs per candidate)"
    own = "and the error of predictions along a reference run in real training of other tasks"
    if not run.references:
        own = "but not the linearization error"
    return (f"{what}{counted}, the uncertainty of the step time, {own}.",)


def _contents(page: PageInput) -> dict[str, Any]:
    # Notes on reference runs stand beside their figures.
    elsewhere = {check.note for check in page.run.references}
    return {
        "reasons": reasons(page.run),
        "notes": [note for note in page.ranking.notes if note not in elsewhere],
    }


SECTION = Section(
    id="trust",
    title="How far to trust it",
    heading="How far to trust it, and why",
    template="sections/trust.html.jinja",
    contents=_contents,
)
