"""What a training step takes: seconds on a worker, the work from which other machines' times follow, and memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from raytt.cluster.stages.step_memory import measure_memory
from raytt.cluster.stages.step_times import measure_step_times
from raytt.cluster.stages.step_work import measure_work
from raytt.pricing.machine import Timing
from raytt.pricing.step_key import step_key
from raytt.task.candidate import Candidate
from raytt.workflows.workspace import Workspace


@dataclass(frozen=True, kw_only=True, eq=False)
class StepCosts:
    """What a training step takes."""

    timing: Timing
    """Seconds and work by batch size and network, and memory."""
    notes: tuple[str, ...]
    """What the user must know of work and memory."""


def time_steps(candidates: Sequence[Candidate], space: Workspace) -> StepCosts:
    """Time training steps of the candidates' batch sizes and networks, count their work, and follow their memory.

    Memory is that of the network that the model factory's defaults give.
    """
    keys, sizes = [step_key(c) for c in candidates], [c.batch_size for c in candidates]
    with space.reporter.phase("time", "training steps") as phase:
        step_times = measure_step_times(space.timed_ref, keys, resources=space.machine, run=space.run, phase=phase)
        work, notes = measure_work(space.timed_ref, keys, run=space.run, phase=phase)
        memory, more = measure_memory(space.timed_ref, sizes, run=space.run, phase=phase)
    return StepCosts(timing=Timing(timed=step_times, work=work, memory=memory), notes=(*notes, *more))
