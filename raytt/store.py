"""The run directory: Arrow files with checksums, and a manifest that says what they were made from.

::

    <storage_path>/<name>/
      manifest.json            inputs of the run, and every file with its checksum and what it was made from
      probe/train-000000.arrow sketched Jacobian rows, one file per shard of samples
      tangent/*.arrow          the reduced tangent and its spectrum
      curves/<key>.arrow       simulated curves, one file per batch of candidates
      ranking.json             the result

The manifest is replaced as a whole, so an interrupted run loses at most the file being written. Nothing is pickled.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.fs
import pyarrow.ipc
from numpy.typing import NDArray

from raytt.errors import InputError, StoreError
from raytt.fingerprint import Fact, Facts

FORMAT = 1
"""Version of the run directory's layout."""

Arrays = dict[str, NDArray[Any]]

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
_MANIFEST = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class FileRecord:
    """A file of the run directory, as the manifest lists it."""

    file: str
    """Path below the run directory, with forward slashes."""
    sha256: str
    """Of its bytes, 64 hexadecimal digits."""
    made_from: str
    """Fingerprint of everything its contents depend on."""


@dataclass(frozen=True, kw_only=True)
class Storage:
    """Files below one directory, local or on an object store. Travels to workers."""

    root: str
    """An absolute local path, or a URI that ``pyarrow.fs`` knows (s3://…, gs://…, file:///…)."""

    @property
    def is_local(self) -> bool:
        """Whether other machines may see something else, or nothing, under the same path."""
        return "://" not in self.root

    def exists(self, file: str) -> bool:
        """Whether there is such a file."""
        filesystem, path = self._locate(file)
        return bool(filesystem.get_file_info(path).type == pyarrow.fs.FileType.File)

    def write_bytes(self, file: str, data: bytes | memoryview | pa.Buffer) -> None:
        """Write a file so that readers see the old one or the new one, never a part."""
        partial = f"{file}.{uuid.uuid4().hex[:8]}.partial"
        try:
            filesystem, path = self._locate(file)
            filesystem.create_dir(path.rsplit("/", 1)[0], recursive=True)
            with filesystem.open_output_stream(self._locate(partial)[1]) as stream:
                stream.write(data)
            filesystem.move(self._locate(partial)[1], path)
        except (OSError, pa.ArrowException) as error:
            raise StoreError(f"Cannot write {file} to {self.root}: {error}") from error

    def read_bytes(self, file: str) -> bytes:
        """The contents of a file."""
        try:
            filesystem, path = self._locate(file)
            with filesystem.open_input_stream(path) as stream:
                return bytes(stream.read())
        except (OSError, pa.ArrowException) as error:
            raise StoreError(f"Cannot read {file} from {self.root}: {error}") from error

    def delete(self, file: str) -> None:
        """Remove a file."""
        filesystem, path = self._locate(file)
        filesystem.delete_file(path)

    def write_arrays(
        self, file: str, arrays: Mapping[str, NDArray[Any]], *, made_from: str, notes: Mapping[str, str] | None = None
    ) -> FileRecord:
        """Write arrays of equal length as an Arrow IPC file: a row per entry, further axes as fixed-size lists."""
        sink = pa.BufferOutputStream()
        table = _to_table(arrays, notes or {})
        with pyarrow.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        data = sink.getvalue()
        self.write_bytes(file, data)
        return FileRecord(file=file, sha256=hashlib.sha256(data).hexdigest(), made_from=made_from)

    def read_arrays(self, record: FileRecord) -> Arrays:
        """The arrays of a recorded file, after its checksum has been verified; read-only.

        Raises:
            StoreError: If the file is missing, or is not what was written.
        """
        data = self.read_bytes(record.file)
        if hashlib.sha256(data).hexdigest() != record.sha256:
            raise StoreError(f"{record.file} in {self.root} is damaged: its checksum is not the recorded one.")
        return _from_table(pyarrow.ipc.open_file(pa.BufferReader(data)).read_all())

    def is_intact(self, record: FileRecord) -> bool:
        """Whether a recorded file is there and holds what was written."""
        if not self.exists(record.file):
            return False
        return hashlib.sha256(self.read_bytes(record.file)).hexdigest() == record.sha256

    def _locate(self, file: str) -> tuple[pyarrow.fs.FileSystem, str]:
        filesystem, path = pyarrow.fs.FileSystem.from_uri(self.root)
        return filesystem, f"{path.rstrip('/')}/{file}"


@dataclass(kw_only=True)
class Run:
    """A run directory as the driver sees it: its storage and its manifest."""

    storage: Storage
    name: str
    """The run's name, the last part of its path."""
    inputs: dict[str, dict[str, Fact]] = field(default_factory=dict)
    """By section ("probe", "validation"), the facts that everything in the run depends on."""
    files: dict[str, FileRecord] = field(default_factory=dict)
    """Finished files by path."""
    seconds: dict[str, float] = field(default_factory=dict)
    """What each phase has taken so far, over all calls that went on with this run."""

    @classmethod
    def open(cls, storage_path: str | Path, name: str | None, *, task_name: str) -> Run:
        """Open the run of that name, or begin it; None takes the task's name and the time.

        Raises:
            InputError: If the name could leave the storage path.
            StoreError: If the directory cannot be written, or its manifest cannot be read.
        """
        if name is None:
            name = f"{check_name(task_name, 'task name')}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:4]}"
        text = str(storage_path)
        base = text.rstrip("/") if "://" in text else str(Path(text).expanduser().resolve())
        run = cls(storage=Storage(root=f"{base}/{check_name(name, 'run name')}"), name=name)
        probe = f"writable-{uuid.uuid4().hex[:8]}"
        run.storage.write_bytes(probe, b"")
        run.storage.delete(probe)
        if run.storage.exists(_MANIFEST):
            run._load()
        return run

    @classmethod
    def find(cls, place: str | Path) -> Run:
        """The run directory at a path or URI, only to be read: nothing is made or written.

        Raises:
            StoreError: If there is none, or its manifest cannot be read.
        """
        text = str(place).rstrip("/")
        root = text if "://" in text else str(Path(text).expanduser().resolve())
        run = cls(storage=Storage(root=root), name=root.rsplit("/", 1)[-1])
        try:
            there = run.storage.exists(_MANIFEST)
        except (OSError, pa.ArrowException) as error:
            raise StoreError(f"Cannot look into {root}: {error}") from error
        if not there:
            raise StoreError(f"{root} is no run directory: it has no {_MANIFEST}. Give the path that `rank` printed.")
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
                f"Run {self.name!r} in {self.storage.root} was made from other inputs:\n"
                + "\n".join(changed)
                + "\nGive another --name, or restore those inputs."
            )

    def spend(self, seconds: Mapping[str, float]) -> None:
        """Note what the phases have taken so far."""
        self.seconds = dict(seconds)
        self._save()

    def record(self, record: FileRecord) -> None:
        """List a finished file."""
        self.files[record.file] = record
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
        found = self.recorded(file, made_from)
        if found is None or not self.storage.is_intact(found):
            return None
        return json.loads(self.storage.read_bytes(file))

    def _save(self) -> None:
        manifest = {
            "format": FORMAT,
            "name": self.name,
            "inputs": self.inputs,
            "seconds": self.seconds,
            "files": [asdict(self.files[file]) for file in sorted(self.files)],
        }
        self.storage.write_bytes(_MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False).encode())

    def _load(self) -> None:
        try:
            manifest = json.loads(self.storage.read_bytes(_MANIFEST))
            if manifest["format"] != FORMAT:
                raise StoreError(
                    f"Run {self.name!r} in {self.storage.root} has layout {manifest['format']}, this version of raytt "
                    f"reads layout {FORMAT}. Give another --name."
                )
            self.inputs, self.seconds = manifest["inputs"], manifest["seconds"]
            self.files = {f["file"]: FileRecord(**f) for f in manifest["files"]}
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{_MANIFEST} in {self.storage.root} cannot be read: {error!r}.") from error


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


def _to_table(arrays: Mapping[str, NDArray[Any]], notes: Mapping[str, str]) -> pa.Table:
    columns, fields = [], []
    for name, array in arrays.items():
        column = pa.array(np.ascontiguousarray(array).reshape(-1))
        for size in reversed(array.shape[1:]):
            column = pa.FixedSizeListArray.from_arrays(column, size)
        columns.append(column)
        fields.append(pa.field(name, column.type))
    return pa.Table.from_arrays(columns, schema=pa.schema(fields, metadata=dict(notes)))


def _from_table(table: pa.Table) -> Arrays:
    arrays: Arrays = {}
    for name in table.column_names:
        column = table[name].combine_chunks()
        shape = [len(column)]
        while pa.types.is_fixed_size_list(column.type):
            shape.append(column.type.list_size)
            column = column.flatten()
        arrays[name] = column.to_numpy(zero_copy_only=True).reshape(shape)
    return arrays
