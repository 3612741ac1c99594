"""Files below one directory, on this machine or on an object store; the one place that knows file systems."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs
from numpy.typing import NDArray

from raytt.errors import StoreError
from raytt.store.arrow import Arrays, from_arrow, to_arrow
from raytt.store.manifest import FileRecord, is_inside

_OBJECT_STORES = ("s3", "gcs", "abfs")
"""File systems without directories, where a file appears as a whole when it is closed."""


@dataclass(frozen=True, kw_only=True)
class Storage:
    """Files below one directory, local or on an object store. Travels to workers."""

    root: str
    """An absolute local path, or a URI that ``pyarrow.fs`` knows (s3://…, gs://…, file:///…)."""

    @property
    def is_local(self) -> bool:
        """Whether other machines may see something else, or nothing, under the same path."""
        return "://" not in self.root

    @property
    def shown(self) -> str:
        """The root as it may be shown and logged: without keys, which a URI can hold."""
        return re.sub(r"(?<=://)[^/@]*@", "", self.root).partition("?")[0] if "://" in self.root else self.root

    def exists(self, file: str) -> bool:
        """Whether there is such a file."""
        with self._problems("read", file):
            filesystem, path = self._locate(file)
            return bool(filesystem.get_file_info(path).type == pyarrow.fs.FileType.File)

    def times(self, folder: str) -> dict[str, float]:
        """When each file of a folder was last written, in seconds of the file system's own clock."""
        with self._problems("read", folder):
            filesystem, path = self._locate(folder)
            selector = pyarrow.fs.FileSelector(path, allow_not_found=True)
            return {
                f"{folder}/{info.base_name}": info.mtime_ns / 1e9
                for info in filesystem.get_file_info(selector)
                if info.type == pyarrow.fs.FileType.File and is_inside(info.base_name)
            }

    def write_bytes(self, file: str, data: bytes | memoryview | pa.Buffer) -> None:
        """Write a file so that readers see the old one or the new one, never a part."""
        with self._problems("write", file):
            filesystem, path = self._locate(file)
            if filesystem.type_name in _OBJECT_STORES:
                with filesystem.open_output_stream(path) as stream:
                    stream.write(data)
                return
            partial = f"{path}.{uuid.uuid4().hex[:8]}.partial"
            filesystem.create_dir(path.rpartition("/")[0], recursive=True)
            with filesystem.open_output_stream(partial) as stream:
                stream.write(data)
            filesystem.move(partial, path)

    def read_bytes(self, file: str) -> bytes:
        """The contents of a file."""
        with self._problems("read", file):
            filesystem, path = self._locate(file)
            with filesystem.open_input_stream(path) as stream:
                return bytes(stream.read())

    def delete(self, file: str) -> None:
        """Remove a file."""
        with self._problems("delete", file):
            filesystem, path = self._locate(file)
            filesystem.delete_file(path)

    def write_arrays(
        self, file: str, arrays: Mapping[str, NDArray[Any]], *, made_from: str, notes: Mapping[str, str] | None = None
    ) -> FileRecord:
        """Write arrays of equal length as an Arrow IPC file: a row per entry, further axes as fixed-size lists."""
        data = to_arrow(arrays, notes or {})
        self.write_bytes(file, data)
        return FileRecord(file=file, sha256=hashlib.sha256(data).hexdigest(), made_from=made_from)

    def read_recorded(self, record: FileRecord) -> bytes:
        """The contents of a recorded file, after its checksum has been verified.

        Raises:
            StoreError: If the file is missing, or is not what was written.
        """
        data = self.read_bytes(record.file)
        if hashlib.sha256(data).hexdigest() != record.sha256:
            raise StoreError(f"{record.file} in {self.shown} is damaged: its checksum is not the recorded one.")
        return data

    def read_arrays(self, record: FileRecord) -> Arrays:
        """The arrays of a recorded file, after its checksum has been verified; read-only.

        Raises:
            StoreError: If the file is missing, or is not what was written.
        """
        try:
            return from_arrow(self.read_recorded(record))
        except ValueError as error:
            raise StoreError(f"{record.file} in {self.shown} is damaged: {error}.") from error

    def read_intact(self, record: FileRecord) -> bytes | None:
        """The contents of a recorded file; None if it is missing, or is not what was written."""
        if not self.exists(record.file):
            return None
        data = self.read_bytes(record.file)
        return data if hashlib.sha256(data).hexdigest() == record.sha256 else None

    def is_intact(self, record: FileRecord) -> bool:
        """Whether a recorded file is there and holds what was written."""
        return self.read_intact(record) is not None

    def _locate(self, file: str) -> tuple[pyarrow.fs.FileSystem, str]:
        if not is_inside(file):
            raise StoreError(f"{file!r} is not a path below {self.shown}.")
        filesystem, path = _filesystem(self.root)
        return filesystem, f"{path.rstrip('/')}/{file}"

    @contextmanager
    def _problems(self, doing: str, file: str) -> Iterator[None]:
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            raise StoreError(f"Cannot {doing} {file} in {self.shown}: {_without_keys(error, self.root)}") from error


def below(storage_path: str, name: str) -> str:
    """The root of a run: the name goes before what a URI says about the connection."""
    if "://" not in storage_path:
        return f"{Path(storage_path).expanduser().resolve()}/{name}"
    place, mark, query = storage_path.partition("?")
    return f"{place.rstrip('/')}/{name}{mark}{query}"


@lru_cache(maxsize=16)
def _filesystem(root: str) -> tuple[pyarrow.fs.FileSystem, str]:
    # Connecting to an object store takes longer than most files.
    filesystem, path = pyarrow.fs.FileSystem.from_uri(root)
    return filesystem, path


def _without_keys(error: Exception, root: str) -> str:
    """The text of an error, in which file systems like to repeat the URI with its keys."""
    text = str(error)
    for secret in re.findall(r"(?<=://)[^/@]*(?=@)", root):
        for part in (secret, *secret.split(":")):
            text = text.replace(part, "***") if part else text
    return text
