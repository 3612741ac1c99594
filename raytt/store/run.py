"""The run directory: Arrow files with checksums, and a manifest that says what they were made from.

::

    <storage_path>/<name>/
      manifest.json            inputs of the run, and every file with its checksum and what it was made from
      locks/<claim>.json       the driver that is at work, see `raytt.store.lock`
      probe/train-000000.arrow sketched Jacobian rows, one file per shard of samples
      tangent/*.arrow          the reduced tangent and its spectrum
      curves/<key>.arrow       simulated curves, one file per batch of candidates
      reference.json           the reference runs beside their own simulations
      ranking.json             the result
      validation.json          candidates that were really trained

The manifest is replaced as a whole, so an interrupted run loses at most the files being written, or not listed yet (see
`raytt.cluster.plumbing.manifest_batches`). Nothing is pickled.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from raytt.errors import InputError, StoreError
from raytt.store.arrow import Arrays, from_arrow
from raytt.store.facts import Facts
from raytt.store.lock import RunLock
from raytt.store.manifest import FORMAT, FileRecord, Manifest, ManifestError, OtherFormatError
from raytt.store.storage import Storage, below

__all__ = ["FORMAT", "Arrays", "FileRecord", "Run", "Storage", "check_name"]

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
_MANIFEST = "manifest.json"


@dataclass(kw_only=True)
class Run:
    """A run directory as the driver sees it: its storage and its manifest."""

    storage: Storage
    name: str
    """The run's name, the last part of its path."""
    manifest: Manifest
    """What was made so far."""
    _lock: RunLock | None = field(default=None, repr=False)

    @classmethod
    def open(cls, storage_path: str | Path, name: str | None, *, task_name: str) -> Run:
        """Open the run of that name, or begin it; None takes the task's name and the time.

        Raises:
            InputError: If the name could leave the storage path.
            StoreError: If the directory cannot be written, or its manifest cannot be read.
        """
        if name is None:
            name = f"{check_name(task_name, 'task name')}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:4]}"
        storage = Storage(root=below(str(storage_path), check_name(name, "run name")))
        run = cls(storage=storage, name=name, manifest=Manifest(name=name))
        probe = f"writable-{uuid.uuid4().hex[:8]}"
        run.storage.write_bytes(probe, b"")
        run.storage.delete(probe)
        run._load()
        return run

    @property
    def inputs(self) -> dict[str, Any]:
        """By section, the facts that everything in the run depends on."""
        return self.manifest.inputs

    @property
    def files(self) -> dict[str, FileRecord]:
        """Finished files by path."""
        return self.manifest.files

    @property
    def seconds(self) -> dict[str, float]:
        """What each phase has taken so far, over all calls that went on with this run."""
        return self.manifest.seconds

    @contextmanager
    def locked(self) -> Iterator[Run]:
        """Keep other drivers away while open, and see what those before have left.

        Raises:
            StoreError: If another is at work.
        """
        with RunLock(self.storage, self.name) as lock:
            self._load()
            self._lock = lock
            try:
                yield self
            finally:
                self._lock = None

    @classmethod
    def find(cls, place: str | Path) -> Run:
        """The run directory at a path or URI, only to be read: nothing is made or written.

        Raises:
            StoreError: If there is none, or its manifest cannot be read.
        """
        text = str(place).rstrip("/")
        root = text if "://" in text else str(Path(text).expanduser().resolve())
        name = root.rsplit("/", 1)[-1]
        run = cls(storage=Storage(root=root), name=name, manifest=Manifest(name=name))
        if not run.storage.exists(_MANIFEST):
            shown = run.storage.shown
            raise StoreError(f"{shown} is no run directory: it has no {_MANIFEST}. Give the path that `rank` printed.")
        run._load()
        return run

    def check_inputs(self, section: str, facts: Facts) -> None:
        """Note the facts that results depend on; refuse others than those of an earlier run of the same name.

        Raises:
            StoreError: If a fact differs; names each with its old and its new value.
        """
        old, new = self.inputs.get(section), dict(facts)
        if old is None:
            self.inputs[section] = new
            self._save()
        elif old != new:
            changed = [
                f"  {key}: {json.dumps(old.get(key))} → {json.dumps(new.get(key))}"
                for key in sorted({*old, *new})
                if old.get(key) != new.get(key)
            ]
            raise StoreError(
                f"Run {self.name!r} in {self.storage.shown} was made from other inputs:\n"
                + "\n".join(changed)
                + "\nGive another --name, or restore those inputs."
            )

    def spend(self, seconds: Mapping[str, float]) -> None:
        """Note what the phases have taken so far."""
        self.manifest.seconds = dict(seconds)
        self._save()

    def record(self, *records: FileRecord) -> None:
        """List finished files."""
        self.files.update({record.file: record for record in records})
        self._save()

    def recorded(self, file: str, made_from: str) -> FileRecord | None:
        """The record of a file that was made from exactly that, or None."""
        found = self.files.get(file)
        return found if found is not None and found.made_from == made_from else None

    def write_json(self, file: str, value: Any, *, made_from: str) -> None:
        """Write and list a JSON file; NaN is refused."""
        data = json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False).encode()
        self.storage.write_bytes(file, data)
        self.record(FileRecord(file=file, sha256=hashlib.sha256(data).hexdigest(), made_from=made_from))

    def read_json(self, file: str, made_from: str) -> Any | None:
        """The value of an undamaged JSON file that was made from exactly that, or None."""
        data = self._read(file, made_from)
        if data is None:
            return None
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            raise StoreError(f"{file} in {self.storage.shown} is not JSON: {error}.") from error

    def write_arrays(self, file: str, arrays: Mapping[str, NDArray[Any]], *, made_from: str) -> None:
        """Write and list arrays of equal length as an Arrow file."""
        self.record(self.storage.write_arrays(file, arrays, made_from=made_from))

    def read_arrays(self, file: str, made_from: str) -> Arrays | None:
        """The arrays of an undamaged Arrow file that was made from exactly that, or None; read-only."""
        data = self._read(file, made_from)
        if data is None:
            return None
        try:
            return from_arrow(data)
        except ValueError as error:
            raise StoreError(f"{file} in {self.storage.shown} holds no arrays: {error}.") from error

    def _read(self, file: str, made_from: str) -> bytes | None:
        found = self.recorded(file, made_from)
        return None if found is None else self.storage.read_intact(found)

    def _save(self) -> None:
        if self._lock is not None and self._lock.is_lost:
            raise StoreError(
                f"Another driver took over run {self.name!r} in {self.storage.shown}, as nothing was heard of this one "
                "for too long. Start it again when that one has ended."
            )
        self.storage.write_bytes(_MANIFEST, self.manifest.to_bytes())

    def _load(self) -> None:
        if not self.storage.exists(_MANIFEST):
            return
        try:
            self.manifest = Manifest.from_bytes(self.storage.read_bytes(_MANIFEST))
        except OtherFormatError as error:
            raise StoreError(
                f"Run {self.name!r} in {self.storage.shown} has {error}, this version of raytt reads layout {FORMAT}. "
                "Give another --name."
            ) from error
        except ManifestError as error:
            raise StoreError(
                f"{_MANIFEST} in {self.storage.shown} cannot be read: {error}. Without it nothing there can be "
                "trusted: give another --name, or delete it to compute the run anew."
            ) from error


def check_name(name: str, what: str) -> str:
    """The name, if it can be the name of a directory everywhere.

    Raises:
        InputError: If it holds other characters than letters, digits, '-', '_', '.', begins with '.', or is too long.
    """
    if not _NAME.fullmatch(name):
        raise InputError(
            f"The {what} {name!r} cannot be a directory's name.",
            "Use 1 to 128 letters, digits, '-', '_' and '.', not beginning with '.'.",
        )
    return name
