"""The probe on Ray: actors hold the network, blocks of samples are distributed, rows go to the run directory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import ray
from ray.exceptions import RayError

from raytt.cluster.plumbing.dispatch import as_ours, is_lost
from raytt.cluster.plumbing.manifest_batches import Listing
from raytt.cluster.plumbing.progress import Phase
from raytt.cluster.plumbing.run_files import Files, intact_records
from raytt.cluster.plumbing.session import WorkerResources
from raytt.cluster.plumbing.workers import Item, Limits, Workers
from raytt.cluster.stages.prober import Index, NetworkFacts, Prober, Receipt, SplitName, check_alike
from raytt.probe.settings import ProbeSettings
from raytt.probe.sketch import CountSketch
from raytt.probe.worker import ProbeFacts
from raytt.store.facts import Fact
from raytt.store.fingerprint import fingerprint, hash_arrays, task_facts, versions
from raytt.store.run import FileRecord, Run
from raytt.task.task import Task


@dataclass(frozen=True, kw_only=True)
class Block:
    """Samples that are probed in one go, and stored in one file."""

    split: SplitName
    """Where they come from."""
    number: int
    """Position among the blocks of the split."""
    index: Index
    """Positions of the samples in the data set."""
    point: str = ""
    """Name of the tangent point on a reference run's path; empty for the pre-trained weights."""
    likely: Index | None = None
    """Where few of many outputs are probed along a path: the likeliest wrong classes of each sample."""

    @property
    def label(self) -> str:
        """For the user."""
        where = f" at {self.point}" if self.point else ""
        return f"{self.split} samples {self.index[0]}…{self.index[-1]}{where}"

    @property
    def file(self) -> str:
        """Below the run directory."""
        folder = f"probe/{self.point}" if self.point else "probe"
        return f"{folder}/{self.split}-{self.number:06d}.arrow"


@dataclass(frozen=True, kw_only=True)
class Probed:
    """Sketched Jacobian rows in the run directory."""

    facts: ProbeFacts
    """What the network is."""
    weights: str
    """Hash of its pre-trained weights."""
    shards: Mapping[SplitName, tuple[FileRecord, ...]]
    """One file per block of samples, in order; "validation" only where it was probed."""
    computed: int
    """How many of the blocks were not there yet."""


def blocks_of(samples: Mapping[SplitName, Index], block_size: int) -> list[Block]:
    """The samples of each split cut into blocks, which do not depend on the number of workers."""
    return [
        Block(split=split, number=number, index=index[start : start + block_size])
        for split, index in samples.items()
        for number, start in enumerate(range(0, len(index), block_size))
    ]


def probe(
    task: Task,
    task_ref: Any,
    *,
    settings: ProbeSettings,
    samples: Mapping[SplitName, Index],
    num_samples_full: int,
    resources: WorkerResources,
    num_workers: int,
    run: Run,
    files: Files,
    phase: Phase,
    limits: Limits | None = None,
) -> Probed:
    """Probe the samples of each split, less what the run directory already has.

    Args:
        task: What would be trained.
        task_ref: The same in the object store.
        settings: How rows are computed.
        samples: Positions by split; "train" is needed, "validation" is probed if given.
        num_samples_full: N_full.
        resources: Of one worker.
        num_workers: Workers at a time, at most.
        run: Where the rows go.
        files: Its Arrow files.
        phase: Shows progress.
        limits: When waiting and trying again end.

    Raises:
        InputError: If the model factory gives different networks.
        StoreError: If the run directory was made from other inputs.
    """
    blocks = blocks_of(samples, settings.block_size)
    missing = sum(block.file not in run.files for block in blocks)
    actor = ray.remote(Prober).options(**resources.options())
    spawn = partial(actor.remote, task_ref, settings, samples["train"], resources.gpus)
    with Workers(spawn, asked=resources, limits=limits, on_retry=phase.retried) as workers:
        # A finished run is only checked, for which one worker is enough.
        few = min(num_workers, max(1, missing))
        network, hashes = _inspect(workers, blocks, num_actors=few, phase=phase)
        keys = _check_inputs(run, task, settings, network, samples, num_samples_full, blocks, hashes)
        todo = missing_blocks(blocks, keys, run, files)
        if todo:
            phase.expect(len(todo), f"Jacobian rows of {len(todo)} blocks of {settings.block_size} samples")
            compute(
                workers,
                todo,
                lambda block: keys[block.split],
                network.weights,
                num_outputs=network.facts.outputs_per_sample,
                num_actors=num_workers,
                run=run,
                files=files,
                phase=phase,
            )
    return Probed(
        facts=network.facts,
        weights=network.weights,
        shards=shards_of(run, blocks, samples),
        computed=len(todo),
    )


def missing_blocks(blocks: Sequence[Block], keys: Mapping[SplitName, str], run: Run, files: Files) -> list[Block]:
    """Blocks that the run directory does not have undamaged, made from the fingerprint of their split."""
    intact = intact_records(run, files, {block.file: keys[block.split] for block in blocks})
    return [block for block in blocks if block.file not in intact]


def shards_of(
    run: Run, blocks: Sequence[Block], splits: Iterable[SplitName], point: str = ""
) -> dict[SplitName, tuple[FileRecord, ...]]:
    """The files of the blocks of one tangent point by split, in order."""
    own = [block for block in blocks if block.point == point]
    return {split: tuple(run.files[block.file] for block in own if block.split == split) for split in splits}


def _inspect(
    workers: Workers, blocks: Sequence[Block], *, num_actors: int, phase: Phase
) -> tuple[NetworkFacts, list[str]]:
    """The network, and a hash of the data of each block."""
    found: list[Any] = [None] * (1 + len(blocks))

    def note(number: int, receipt: Any, _: Any) -> None:
        found[number] = receipt
        phase.advance()

    describe = Item(label="Describing the network", start=lambda actor: [actor.describe.remote()])
    phase.expect(len(found), "weights and data")
    workers.run([describe, *map(_hash_item, blocks)], num_actors=num_actors, on_done=note)
    network: NetworkFacts = found[0]
    for weights, _ in found[1:]:
        check_alike(network.weights == weights)
    return network, [digest for _, digest in found[1:]]


def compute(
    workers: Workers,
    blocks: Sequence[Block],
    key_of: Callable[[Block], str],
    weights: str,
    *,
    num_actors: int,
    run: Run,
    files: Files,
    phase: Phase,
    num_outputs: int,
    points: Mapping[str, Any] | None = None,
) -> None:
    """Probe blocks and write them; what is written is listed soon (see `Listing`): an interrupted run keeps it.

    Args:
        workers: Actors of `Prober`.
        blocks: What to probe.
        key_of: What a block's file is made from.
        weights: Hash of the pre-trained weights that every worker must have.
        num_actors: Workers at a time, at most.
        run: Where the files are listed.
        files: Where they go.
        phase: Shows progress.
        num_outputs: Probed of each sample.
        points: Refs of the arrays of tangent points by name.
    """
    saving: dict[Any, Block] = {}
    lost: list[Block] = []

    def collect(*, wait: bool) -> None:
        while saving:
            done, _ = ray.wait(list(saving), num_returns=1, timeout=None if wait else 0)
            if not done:
                break
            block = saving.pop(done[0])
            try:
                listing.add(ray.get(done[0]))
                phase.advance(rows=len(block.index) * num_outputs)
            except RayError as error:
                # Rows may be lost with the node that computed them, before they are written.
                if not is_lost(error):
                    raise as_ours(error, f"Writing {block.file}") from None
                phase.retried(f"Rows of {block.label} were lost with a node; they are computed again.")
                lost.append(block)
        listing.write_if_due()

    def save(number: int, receipt: Receipt, refs: Sequence[Any]) -> None:
        check_alike(weights == receipt.weights)
        block = todo[number]
        if receipt.notice:
            phase.retried(f"{block.label}: {receipt.notice}")
        saving[files.save(block.file, refs[0], made_from=key_of(block))] = block
        collect(wait=False)

    todo = list(blocks)
    with Listing(run) as listing:
        try:
            while todo:
                items = [_probe_item(block, (points or {}).get(block.point)) for block in todo]
                workers.run(items, num_actors=num_actors, on_done=save, on_quiet=partial(collect, wait=False))
                collect(wait=True)
                todo, lost = lost, []
        finally:
            # Interrupted: what is written by now is kept.
            collect(wait=False)


def _hash_item(block: Block) -> Item:
    return Item(label=f"Reading {block.label}", start=lambda actor: [actor.hash_data.remote(block.split, block.index)])


def _probe_item(block: Block, point: Any) -> Item:
    return Item(
        label=f"Probing {block.label}",
        start=lambda actor: actor.probe.options(num_returns=2).remote(
            block.split, block.index, block.point, point, block.likely
        ),
    )


def _check_inputs(
    run: Run,
    task: Task,
    settings: ProbeSettings,
    network: NetworkFacts,
    samples: Mapping[SplitName, Index],
    num_samples_full: int,
    blocks: Sequence[Block],
    hashes: Sequence[str],
) -> dict[SplitName, str]:
    """Hold the inputs against those of the run directory; gives what the shards of each split are made from."""
    facts: dict[str, Fact] = {
        **versions(),
        **task_facts(task),
        "weights": network.weights,
        "architecture": network.architecture,
        "num_samples_full": num_samples_full,
        "sketch": CountSketch.label,
        **{name: getattr(settings, name) for name in settings.__dataclass_fields__},
    }
    keys: dict[SplitName, str] = {}
    for split, index in samples.items():
        of_split: dict[str, Fact] = {
            "samples": len(index),
            "positions": hash_arrays(index),
            "data": fingerprint([h for h, block in zip(hashes, blocks, strict=True) if block.split == split]),
        }
        if split == "train":
            facts |= of_split
            run.check_inputs("probe", facts)
        else:
            run.check_inputs(split, of_split)
        keys[split] = fingerprint([facts, of_split])
    return keys
