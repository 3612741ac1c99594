"""Configurations that do not fit the machines on which they were to train, and what would."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from raytt.pricing.machine import Machine
from raytt.pricing.step_memory import Fit, StepMemory
from raytt.results.entry import Entry

GIB = float(2**30)
SHOWN = 8
"""Configurations named in one sentence, at most."""


def human_bytes(size: float) -> str:
    """A size in KiB, MiB or GiB."""
    for unit, scale in (("KiB", 2**10), ("MiB", 2**20)):
        if size < 999.5 * scale:
            return f"{size / scale:.3g} {unit}"
    return f"{size / GIB:.3g} GiB" if size < 999.5 * GIB else f"{size / GIB:,.0f} GiB"


def remedy(fit: Fit) -> str:
    """What fits in the place of a configuration that does not, in words."""
    if fit.batch_size is None:
        return "no smaller minibatch fits"
    return f"batch {fit.batch_size} with accumulation of {fit.accumulation_steps} fits"


def too_large(entries: Sequence[Entry], machines: Sequence[Machine], memory: StepMemory | None) -> tuple[str, ...]:
    """One sentence for each machine that some configuration does not fit.

    Args:
        entries: The ranking.
        machines: Where they might train.
        memory: Of training steps; None where it is not known.
    """
    return tuple(_sentences(entries, machines, memory))


def _sentences(entries: Sequence[Entry], machines: Sequence[Machine], memory: StepMemory | None) -> Iterator[str]:
    for machine in machines:
        fits = [(entry.rank, machine.fit(memory, entry.candidate)) for entry in entries]
        large = [(rank, fit) for rank, fit in fits if fit is not None and fit.fits is False]
        if not large:
            continue
        words = "; ".join(f"rank {rank} needs {human_bytes(fit.peak)}, {remedy(fit)}" for rank, fit in large[:SHOWN])
        more = f"; and {len(large) - SHOWN} more" if len(large) > SHOWN else ""
        usable = human_bytes(machine.usable_bytes or 0.0)
        yield (
            f"{len(large)} of {len(entries)} configurations do not fit {machine.label}, which has {usable} for a step, "
            f"and are not offered there: {words}{more}."
        )
