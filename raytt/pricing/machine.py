"""The machines a decision chooses from, each with its price and the time of a step at every batch size."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from raytt.errors import InputError
from raytt.pricing.catalog import Offer
from raytt.pricing.hardware import accelerator_of_device, accelerators
from raytt.pricing.step_key import StepKey, by_size, in_words, size_of
from raytt.pricing.step_memory import Fit, StepMemory, fit
from raytt.pricing.step_time import Origin, StepTime
from raytt.pricing.terms import THIS_MACHINE, OwnTime, Terms
from raytt.pricing.transfer import from_work, transfer
from raytt.pricing.work import StepWork
from raytt.task.candidate import Candidate


@dataclass(frozen=True, kw_only=True)
class Timing:
    """What is known of a training step, whatever the machine."""

    timed: Mapping[StepKey, StepTime] = field(default_factory=dict)
    """Where the run took place, by batch size and network."""
    work: Mapping[StepKey, StepWork] = field(default_factory=dict)
    """What a step computes, by the same; empty where it could not be counted."""
    memory: StepMemory | None = None
    """What steps need in memory, of the network that the model factory's defaults give; None where that could not be
    told."""

    @property
    def accelerator(self) -> str | None:
        """The table's name of the accelerator that was timed; None for a CPU, or one that is not known."""
        return next((accelerator_of_device(time.device) for time in self.timed.values()), None)

    @property
    def processor(self) -> str:
        """What was timed, "cpu" or "cuda"."""
        return "cuda" if any(time.device is not None for time in self.timed.values()) else "cpu"


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Some accelerators of one kind at one price."""

    name: str
    """Of the offer, or `THIS_MACHINE`."""
    accelerator: str
    """What trains."""
    gpus: int
    """Accelerators in use; 1 also for a CPU."""
    instances: int
    """Machines rented."""
    usd_per_hour: float | None
    """For all of them, US dollars; None without a price."""
    as_of: str | None
    """Day of the price; None where the user gave it."""
    step_times: Mapping[StepKey, StepTime]
    """By batch size and network; those that are not known are left out."""
    usable_bytes: float | None = None
    """Memory of each accelerator that training steps can use, bytes; None where it is not known."""
    processor: str = "cuda"
    """What trains, "cpu" or "cuda"."""

    def fit(self, memory: StepMemory | None, candidate: Candidate) -> Fit | None:
        """Whether the candidate's steps fit; None where what they need is not known."""
        if memory is None or self.processor not in memory.passes:
            return None
        return fit(memory, candidate, self.usable_bytes, processor=self.processor, gpus=self.gpus)

    @property
    def label(self) -> str:
        """Its name, with the number of accelerators where there are several."""
        return f"{self.name} × {self.gpus} GPUs" if self.gpus > 1 else self.name


def machines(
    terms: Terms, timing: Timing, keys: Iterable[StepKey], *, usd_per_hour: float | None = None
) -> tuple[tuple[Machine, ...], tuple[str, ...]]:
    """Offers × numbers of GPUs, and what the user must know about them.

    Without offers: the machine on which steps were timed, at ``usd_per_hour``. On n GPUs a step takes 1/(n·efficiency)
    of its time on one, and batch sizes below n are left out. Whole machines are paid for: one with eight accelerators
    of which one trains costs as much as with eight.

    Args:
        terms: Offers, numbers of GPUs, efficiency, the user's own times.
        timing: What was timed and counted.
        keys: Batch sizes and networks of the candidates.
        usd_per_hour: Price of the machine that was timed.
    """
    wanted = sorted(set(keys), key=by_size)
    offers: Sequence[Offer | None] = terms.offers or (None,)
    found, notes = [], []
    for offer in offers:
        name = THIS_MACHINE if offer is None else offer.name
        times = {key: t for key in wanted if (t := _step_time(offer, key, terms.own_times, timing)) is not None}
        if not times:
            notes.append(
                f"How long a step takes on {name} is not known: give it with --seconds-per-step {name}/BATCH=SECONDS."
            )
            continue
        per_machine = 1 if offer is None else max(1, offer.accelerator_count)
        price = usd_per_hour if offer is None else offer.usd_per_hour
        for gpus in terms.gpus:
            instances = -(-gpus // per_machine)
            found.append(
                Machine(
                    name=name,
                    accelerator="" if offer is None else offer.accelerator,
                    gpus=gpus,
                    instances=instances,
                    usd_per_hour=None if price is None else price * instances,
                    as_of=None if offer is None else offer.as_of,
                    step_times={
                        key: _on_gpus(t, gpus, terms.efficiency) for key, t in times.items() if size_of(key) >= gpus
                    },
                    usable_bytes=_usable(timing.accelerator if offer is None else offer.accelerator),
                    processor=timing.processor if offer is None or not offer.accelerator else "cuda",
                )
            )
        if per_machine > max(terms.gpus):
            notes.append(
                f"{name} has {per_machine} {offer.accelerator if offer else ''} accelerators and is paid for as a "
                f"whole, but training uses {max(terms.gpus)}: see --gpus."
            )
    return tuple(found), tuple(notes)


def leading(pool: Sequence[Machine], keys: Iterable[StepKey], notes: Sequence[str] = ()) -> Machine:
    """The first machine on which the times of all steps are known: candidates are ranked there.

    Raises:
        InputError: If there is none.
    """
    needed = set(keys)
    for machine in pool:
        if needed <= set(machine.step_times):
            return machine
    raise InputError(
        "On none of the machines is the time of a step known for every batch size "
        f"({', '.join(map(in_words, sorted(needed, key=by_size)))}).",
        " ".join(notes) or "Give your own figures with --seconds-per-step, and no more GPUs than the smallest batch.",
    )


def _usable(accelerator: str | None) -> float | None:
    known = accelerators().get(accelerator or "")
    return None if known is None else known.usable_bytes


def _step_time(offer: Offer | None, key: StepKey, own: Sequence[OwnTime], timing: Timing) -> StepTime | None:
    """The user's figure, else timed there, else moved there, else from what a step computes; None without any."""
    name = THIS_MACHINE if offer is None else offer.name
    given = [time for time in own if time.fits(name, size_of(key))]
    if given:
        best = max(given, key=lambda time: (time.machine is not None, time.batch_size is not None))
        return StepTime(
            batch_size=size_of(key),
            seconds=math.sqrt(best.low * best.high),
            low=best.low,
            high=best.high,
            source="given by the user",
            origin=Origin.GIVEN,
        )
    timed, work, table = timing.timed.get(key), timing.work.get(key), accelerators()
    if timed is not None and (offer is None or timing.accelerator == offer.accelerator != ""):
        return timed
    if offer is None or work is None or offer.accelerator not in table:
        return None
    there = table[offer.accelerator]
    source = table.get(timing.accelerator or "")
    moved = transfer(timed, work, source, there) if timed is not None and source is not None else None
    return from_work(work, there) if moved is None else moved


def _on_gpus(time: StepTime, gpus: int, efficiency: tuple[float, float] | None) -> StepTime:
    if gpus == 1 or efficiency is None:
        return time
    low, high = efficiency
    share = f"{low:.0%}" if low == high else f"{low:.0%}–{high:.0%}"
    return StepTime(
        batch_size=time.batch_size,
        seconds=time.seconds / (gpus * math.sqrt(low * high)),
        low=time.low / (gpus * high),
        high=time.high / (gpus * low),
        source=f"{time.source}; on {gpus} GPUs with an efficiency of {share}",
        origin=time.origin,
    )
