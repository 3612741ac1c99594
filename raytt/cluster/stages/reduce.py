"""From sketched rows to the reduced tangent: Gram tiles or R × R sums by tasks, brought together by one.

Notation: N training samples, C outputs, sketch dimension R; blocks of samples as the probe cut them.

* NC ≤ R: Θ = Z Zᵀ from tiles, one task for each block against those behind it.
* NC > R: A = Zᵀ Z, summed within groups of blocks, then over groups in their order; coordinates by one task per block.

Sums run in an order that the samples alone determine: any number of workers gives the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import ray

from raytt.cluster.plumbing.cached_tasks import run_cached
from raytt.cluster.plumbing.dispatch import fetch, run_tasks
from raytt.cluster.plumbing.progress import Phase
from raytt.cluster.plumbing.run_files import Files, intact_records
from raytt.cluster.stages import reducer
from raytt.cluster.stages.probe import Probed
from raytt.cluster.stages.reducer import HEAD, ROWS
from raytt.dynamics.kernel.spectrum import Spectrum
from raytt.dynamics.kernel.statistics import Statistics
from raytt.probe.settings import ProbeSettings
from raytt.store.cache import Cache
from raytt.store.fingerprint import fingerprint
from raytt.store.run import FileRecord, Run
from raytt.task.losses import Loss

GROUP_ROWS = 2048
"""Rows (samples × outputs), at least, that are summed to one R × R matrix by one task."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Reduced:
    """The reduced tangent in the run directory, and what is known about it."""

    train: FileRecord
    """Arrays of `Samples` of the training samples, with ``jacobian`` (N, C, r) in float32."""
    validation: FileRecord | None
    """The same of the validation samples."""
    spectrum: Spectrum
    """Of Θ/N."""
    statistics: Statistics
    """Of gradient and curvature."""
    num_coordinates: int
    """r."""


_ONE_CPU: dict[str, Any] = {"num_cpus": 1, "num_returns": 2, "max_retries": 3}
_STRIP: Any = ray.remote(**_ONE_CPU)(reducer.strip)
_MOMENT: Any = ray.remote(**_ONE_CPU)(reducer.moment)
_ADD: Any = ray.remote(**_ONE_CPU)(reducer.add)
_BASIS: Any = ray.remote(**_ONE_CPU)(reducer.basis)
_ROTATE: Any = ray.remote(**_ONE_CPU)(reducer.rotate)
_FINISH: Any = ray.remote(**_ONE_CPU | {"num_returns": 3})(reducer.finish)

_SPECTRUM, _SUMMARY = "tangent/spectrum.arrow", "tangent/summary.json"


def reduce(
    probed: Probed,
    loss: Loss,
    *,
    settings: ProbeSettings,
    num_samples: int,
    num_workers: int,
    run: Run,
    files: Files,
    phase: Phase,
) -> Reduced:
    """The reduced tangent of the probed samples, from the run directory if it is there.

    Args:
        probed: The sketched rows.
        loss: On outputs.
        settings: Of the probe: R and the size of its blocks.
        num_samples: N.
        num_workers: Tasks at a time, at most, of those that hold large results.
        run: Where the result goes.
        files: Its Arrow files.
        phase: Shows progress.
    """
    train, validation = probed.shards["train"], probed.shards.get("validation", ())
    num_rows = num_samples * probed.facts.outputs_per_sample
    rows_per_block = min(settings.block_size, num_samples) * probed.facts.outputs_per_sample
    by_gram = num_rows <= settings.proj_dim
    work = _Work(files=files, phase=phase, rows_per_block=rows_per_block, in_flight=2 * num_workers)
    names = ("train", "validation") if validation else ("train",)
    large: list[Any] = []

    def start(_: Probed) -> Any:
        parts = (_tiles if by_gram else _coordinates)(train, validation, work)
        heads = [files.load(record, HEAD) for record in (*train, *validation)]
        phase.expect(1, "spectrum and statistics")
        receipt, *large[:] = _FINISH.options(**files.off_spot).remote(
            loss, (len(train), len(validation)), by_gram, *heads, *parts
        )
        return receipt

    def write(_: Probed, key: str, receipt: tuple[Spectrum, Statistics, int]) -> Reduced:
        _store(run, files, key, *receipt, dict(zip(names, large, strict=False)))
        stored = _stored(run, files, key, names)
        assert stored is not None
        return stored

    [reduced] = run_cached(
        [probed],
        Cache(
            key=lambda _: fingerprint(sorted({record.made_from for record in (*train, *validation)})),
            read=lambda _, key: _stored(run, files, key, names),
            write=write,
        ),
        start=start,
        label=lambda _: "Reducing the Gram matrix",
        what="reduced tangent",
        phase=phase,
    )
    return reduced


def _store(
    run: Run,
    files: Files,
    key: str,
    spectrum: Spectrum,
    statistics: Statistics,
    num_coordinates: int,
    samples: Mapping[str, Any],
) -> None:
    """Write what was computed; ``samples`` are refs of the reduced samples by split."""
    saving = {_samples_file(name): files.save(_samples_file(name), ref, made_from=key) for name, ref in samples.items()}
    for file, ref in saving.items():
        run.record(fetch(ref, f"Writing {file}"))
    curve = {"eigenvalues": spectrum.eigenvalues, "projections": spectrum.projections}
    run.write_arrays(_SPECTRUM, curve, made_from=key)
    summary = {
        "remainder": spectrum.remainder,
        "num_samples": spectrum.num_samples,
        "num_outputs": spectrum.num_outputs,
        "num_coordinates": num_coordinates,
        "statistics": asdict(statistics),
    }
    run.write_json(_SUMMARY, summary, made_from=key)


def _stored(run: Run, files: Files, key: str, names: Sequence[str]) -> Reduced | None:
    """What an earlier run left, if all of it is there undamaged."""
    summary, curve = run.read_json(_SUMMARY, key), run.read_arrays(_SPECTRUM, key)
    records = intact_records(run, files, dict.fromkeys(map(_samples_file, names), key))
    if summary is None or curve is None or len(records) < len(names):
        return None
    return Reduced(
        train=records[_samples_file("train")],
        validation=records.get(_samples_file("validation")),
        spectrum=Spectrum(
            eigenvalues=curve["eigenvalues"],
            projections=curve["projections"],
            **{name: summary[name] for name in ("remainder", "num_samples", "num_outputs")},
        ),
        statistics=Statistics(**summary["statistics"]),
        num_coordinates=summary["num_coordinates"],
    )


def _samples_file(split: str) -> str:
    return f"tangent/{split}.arrow"


def _tiles(train: Sequence[Any], validation: Sequence[Any], work: _Work) -> list[Any]:
    """Refs of strips: each training block against itself and those behind it, each validation block against all."""
    rows = [work.files.load(record, ROWS) for record in train]
    others = [work.files.load(record, ROWS) for record in validation]
    arguments = [(rows[i], *rows[i:]) for i in range(len(rows))] + [(other, *rows) for other in others]
    strips: list[Any] = [None] * len(arguments)
    work.fan_out(_STRIP, arguments.__getitem__, len(arguments), "Gram tiles", strips.__setitem__)
    return strips


def _coordinates(train: Sequence[FileRecord], validation: Sequence[FileRecord], work: _Work) -> list[Any]:
    """Refs of each block's coordinates, training first."""
    size = -(-GROUP_ROWS // work.rows_per_block)
    groups = [train[start : start + size] for start in range(0, len(train), size)]
    total: Any = None
    ready: dict[int, Any] = {}
    added = 0

    def add(number: int, ref: Any) -> None:
        """Sums are added in the order of the groups, as early as that order allows, so that few are held at a time."""
        nonlocal total, added
        ready[number] = ref
        while added in ready:
            part = ready.pop(added)
            total = part if total is None else _ADD.options(**work.files.off_spot).remote(total, part)[1]
            added += 1

    def load(records: Sequence[FileRecord]) -> list[Any]:
        return [work.files.load(record, ROWS) for record in records]

    work.fan_out(_MOMENT, lambda number: load(groups[number]), len(groups), "sums of R × R", add)
    receipt, axes = _BASIS.options(**work.files.off_spot).remote(total)
    work.phase.expect(1, "principal axes")
    fetch(receipt, "Finding the principal axes")
    records = (*train, *validation)
    parts: list[Any] = [None] * len(records)
    work.fan_out(
        _ROTATE, lambda number: (*load([records[number]]), axes), len(records), "coordinates", parts.__setitem__
    )
    return parts


@dataclass(frozen=True, kw_only=True)
class _Work:
    """What both routes need."""

    files: Files
    phase: Phase
    rows_per_block: int
    in_flight: int

    def fan_out(
        self,
        task: Any,
        arguments: Callable[[int], Sequence[Any]],
        count: int,
        what: str,
        keep: Callable[[int, Any], None],
    ) -> None:
        """Run a task ``count`` times; ``keep`` is given each number with the ref of what is large."""
        large: dict[int, Any] = {}

        def submit(number: int, _: int) -> Any:
            receipt, large[number] = task.remote(*arguments(number))
            return receipt

        def done(number: int, _: None) -> None:
            keep(number, large.pop(number))
            self.phase.advance()

        self.phase.expect(count, what)
        run_tasks(
            [partial(submit, number) for number in range(count)],
            [f"{what}, part {number + 1} of {count}," for number in range(count)],
            on_done=done,
            in_flight=self.in_flight,
        )
