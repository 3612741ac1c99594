"""What pilots whose loss climbed say of themselves and of candidates that would be no slower.

A pilot has *failed* if its loss became infinite or rose beyond all hope (`raytt.rates.reference.HOPELESS`), or if its
smoothed loss is above its first at the end of its budget. One whose smoothed loss is above its first earlier, after
`LEAST_STEPS` steps, has *climbed*: it may come down again. Of 104 runs of 150 steps at very high learning rates (two
small networks, SGD and AdamW) 40 were above their start after 10 steps and 18 of them at the end, 23 after 20 steps and
15 at the end, 21 after 50 steps and 18 at the end. Seven others, of SGD, became infinite (``python -m
benchmarks.rates.unstable --climbs``, 2026-11-29).

Whether noise or curvature did it, another candidate of the same optimizer and model meets more of both if its learning
rate is at least as near to the optimizer's stability limit, its effective learning rate at least as high, and its steps
see at most as many samples. It fails, too, where the pilot became infinite and the optimizer's steps grow with the
gradient. Where the pilot did anything else, it is only suspected: of 30 such candidates 21 failed.
"""

from __future__ import annotations

from collections.abc import Iterable

from raytt.forecast.pilots.pilot_run import PilotRun
from raytt.task.candidate import Candidate

LEAST_STEPS = 20
"""Fewest steps after which a loss above the first says something: losses of the first steps may rise."""


def failed(run: PilotRun) -> bool:
    """Whether the pilot's training did; not where it met its target on another curve all the same."""
    return run.met is None and (run.diverged or (run.finished and _is_above(run)))


def climbed(run: PilotRun) -> bool:
    """Whether the pilot failed, or its loss was above its start when it was given up."""
    return failed(run) or (run.met is None and len(run.losses) >= LEAST_STEPS and _is_above(run))


def why_unstable(candidate: Candidate, runs: Iterable[PilotRun]) -> str | None:
    """Why a candidate is taken to be unstable, in a sentence; None where pilots do not say so.

    Args:
        candidate: Of any optimizer; may be one of the pilots.
        runs: The pilots.
    """
    known = [run for run in runs if failed(run)]
    own = next((run for run in known if run.candidate == candidate), None)
    if own is not None:
        return _what_it_did(own)
    grows = not candidate.optimizer.scale_free
    other = next((run for run in known if run.diverged and grows and _no_slower(candidate, run.candidate)), None)
    return None if other is None else _as(other)


def why_suspect(candidate: Candidate, runs: Iterable[PilotRun]) -> str | None:
    """Why a candidate may fail, in a sentence; None where pilots do not say so. Arguments as of `why_unstable`."""
    known = [run for run in runs if climbed(run)]
    own = next((run for run in known if run.candidate == candidate), None)
    if own is not None:
        return _what_it_did(own)
    other = next((run for run in known if _no_slower(candidate, run.candidate)), None)
    return None if other is None else _as(other)


def is_covered(candidate: Candidate, arrived: Iterable[PilotRun]) -> bool:
    """Whether a pilot that was no slower than a candidate learned what was asked of it.

    Args:
        candidate: Of any optimizer.
        arrived: Pilots that met the target.
    """
    return any(_no_slower(run.candidate, candidate) for run in arrived)


def _is_above(run: PilotRun) -> bool:
    return bool(len(run.losses)) and not run.curve[-1] <= run.curve[0]


def _what_it_did(run: PilotRun) -> str:
    if run.diverged:
        return f"{run.how}: it diverged after {run.steps_taken} steps"
    return f"{run.how}: after {run.steps_taken} of {run.budget} steps its loss was above its start"


def _as(run: PilotRun) -> str:
    other = run.candidate
    did = "diverged" if run.diverged else "had a loss above its start"
    which = f"lr {other.lr:.3g}, batch {other.samples_per_step}"
    return f"a pilot that was no faster ({which}) {did} after {run.steps_taken} steps"


def _no_slower(candidate: Candidate, other: Candidate) -> bool:
    """Whether ``candidate`` meets at least as much curvature and noise as ``other``."""
    if candidate.family != other.family:
        return False
    shares = [c.optimizer.stability_share(c.lr, 1.0) for c in (candidate, other)]
    return (
        shares[0] >= shares[1]
        and candidate.effective_lr >= other.effective_lr
        and candidate.samples_per_step <= other.samples_per_step
    )
