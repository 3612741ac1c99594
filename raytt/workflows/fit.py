"""Will it fit? The memory of a task's training steps by batch size, in seconds and without a ranking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from raytt.adapters.search_space import draw
from raytt.errors import InputError
from raytt.pricing.catalog import Offer
from raytt.pricing.hardware import USABLE_SHARE, accelerators, parse_memory
from raytt.pricing.step_memory import StepMemory
from raytt.results.fit_table import FitDevice, FitRow, FitTable
from raytt.settings.ranking import RankingSettings
from raytt.task.candidate import Candidate
from raytt.task.task import Task
from raytt.training.peak_memory import measure_step_memory

USUAL = (Candidate(lr=1.0, momentum=0.9), Candidate(lr=1.0, optimizer="adamw"))
"""Configurations that are looked at where no search space says otherwise."""
USUAL_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
"""Batch sizes likewise."""


def fit(
    task: Task,
    search_space: Any = None,
    *,
    offers: Sequence[Offer] = (),
    memory: str | None = None,
    num_candidates: int = RankingSettings.num_candidates,
    seed: int = RankingSettings.seed,
) -> FitTable:
    """Peak memory of training steps by kind of configuration and batch size.

    Args:
        task: What would be trained.
        search_space: As `raytt.rank` takes it; None: `USUAL` configurations at `USUAL_SIZES`.
        offers: Machines that it might fit.
        memory: Of a device, such as "24GiB", that it might fit.
        num_candidates: Configurations drawn from domains.
        seed: Of the draws.

    Raises:
        InputError: If the memory cannot be read or is not known, or task or search space cannot be used.
    """
    devices = _devices(offers, memory)
    candidates: Sequence[Candidate] = USUAL
    sizes: Sequence[int] = USUAL_SIZES
    if search_space is not None:
        candidates = draw(search_space, num_candidates=num_candidates, seed=seed).candidates
        sizes = sorted({candidate.batch_size for candidate in candidates})
    processor = "cuda" if devices else "cpu"
    found = measure_step_memory(task, sizes)
    kinds: dict[str, Candidate] = {}
    for candidate in sorted(candidates, key=lambda c: c.sort_key()):
        kinds.setdefault(_label(candidate), candidate)
    rows = [_row(label, candidate, sizes, found, devices, processor) for label, candidate in kinds.items()]
    return FitTable(task=task.name, processor=processor, devices=devices, rows=tuple(rows), source=found.source)


def _row(
    label: str,
    candidate: Candidate,
    sizes: Sequence[int],
    memory: StepMemory,
    devices: Sequence[FitDevice],
    processor: str,
) -> FitRow:
    return FitRow(
        label=label,
        parts={size: memory.parts(replace(candidate, batch_size=size), processor=processor) for size in sizes},
        largest=tuple(memory.largest_batch(candidate, d.usable_bytes, processor=processor) for d in devices),
    )


def _label(candidate: Candidate) -> str:
    """What the memory of a step depends on besides the batch size, in words."""
    optimizer = candidate.optimizer
    kept = optimizer.state_numbers
    words = f"{optimizer.name}, keeps {kept} number{'' if kept == 1 else 's'} a weight"
    if optimizer.factored:
        words = f"{optimizer.name}, keeps rows and columns"
    return f"{words}, accumulates" if candidate.accumulation_steps > 1 else words


def _devices(offers: Sequence[Offer], memory: str | None) -> tuple[FitDevice, ...]:
    found = []
    for offer in offers:
        card = accelerators().get(offer.accelerator)
        if card is None:
            raise InputError(
                f"The memory of {offer.name} ({offer.accelerator or 'no accelerator'}) is not known.",
                "Give it with --memory instead, such as --memory 24GiB.",
            )
        found.append(FitDevice(label=offer.name, usable_bytes=card.usable_bytes))
    if memory is not None:
        found.append(FitDevice(label=memory, usable_bytes=USABLE_SHARE * parse_memory(memory)))
    return tuple(found)
