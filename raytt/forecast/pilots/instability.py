"""What pilots whose loss climbed say of themselves and of candidates that would be no slower.

A pilot has *climbed* if it diverged, or if its smoothed loss after at least `LEAST_STEPS` steps is above its first.
Whether noise or curvature did it, another candidate of the same optimizer and model meets more of both if its learning
rate is at least as near to the optimizer's stability limit, its effective learning rate at least as high, and its steps
see at most as many samples. It is taken to climb, too.
"""

from __future__ import annotations

from collections.abc import Iterable

from raytt.forecast.pilots.pilot_run import PilotRun
from raytt.task.candidate import Candidate

LEAST_STEPS = 10
"""Fewest steps after which a loss above the first says that training fails: warm losses of the first steps may rise."""


def climbed(run: PilotRun) -> bool:
    """Whether the pilot's loss ended above its start; not where it met its target on another curve all the same."""
    if run.met is not None:
        return False
    return run.diverged or (len(run.losses) >= LEAST_STEPS and bool(run.curve[-1] > run.curve[0]))


def why_unstable(candidate: Candidate, runs: Iterable[PilotRun]) -> str | None:
    """Why a candidate is taken to be unstable, in a sentence; None where pilots do not say so.

    Args:
        candidate: Of any optimizer; may be one of the pilots.
        runs: The pilots.
    """
    failed = [run for run in runs if climbed(run)]
    own = next((run for run in failed if run.candidate == candidate), None)
    if own is not None:
        return f"{own.how}: after {own.steps_taken} steps its loss was above its start"
    slower = next((run for run in failed if _no_slower(candidate, run.candidate)), None)
    if slower is None:
        return None
    other = slower.candidate
    return (
        f"a pilot that was no faster (lr {other.lr:.3g}, batch {other.samples_per_step}) had a loss above its start "
        f"after {slower.steps_taken} steps"
    )


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
