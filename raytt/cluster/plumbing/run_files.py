"""Reading and writing the run directory from within the cluster, so that large arrays never visit the driver."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ray

from raytt.cluster.plumbing.dispatch import fetch
from raytt.cluster.plumbing.session import Session
from raytt.store.run import Arrays, FileRecord, Run, Storage


class Clerk:
    """An actor beside the driver that handles files: one process, where tasks without CPUs would start one each."""

    def save(self, storage: Storage, file: str, arrays: Arrays, made_from: str) -> FileRecord:
        """Write an Arrow file."""
        return storage.write_arrays(file, arrays, made_from=made_from)

    def load(self, storage: Storage, record: FileRecord, names: Sequence[str]) -> Arrays:
        """Some of the arrays of an Arrow file, as far as it has them."""
        arrays = storage.read_arrays(record)
        return {name: arrays[name] for name in names if name in arrays}

    def check(self, storage: Storage, records: Sequence[FileRecord]) -> list[bool]:
        """Whether files are still what was written."""
        return [storage.is_intact(record) for record in records]


class Files:
    """The run directory's Arrow files as refs.

    What is loaded lies on the driver's own node, and goes only when the driver goes. What actors elsewhere computed may
    be lost with their node. So everything large is written first and loaded from there.

    Args:
        session: The connection to Ray.
        storage: The run directory.
        clerk: The actor, if there is one already.
    """

    def __init__(self, session: Session, storage: Storage, clerk: Any = None) -> None:
        self._storage = storage
        self.off_spot = session.off_spot()
        """Keywords for ``.options`` of tasks that hold much of what the run directory is made from."""
        # No CPU is asked for: it waits for disks, and a head node that lends no CPUs must still reach its own.
        options = {"num_cpus": 0, "max_concurrency": 4, "max_restarts": -1, "max_task_retries": -1}
        self._clerk = clerk or ray.remote(Clerk).options(**options, **session.near_driver()).remote()

    def save(self, file: str, arrays: Any, *, made_from: str) -> Any:
        """Write the arrays behind a ref; gives the ref of the file's record."""
        return self._clerk.save.remote(self._storage, file, arrays, made_from)

    def load(self, record: FileRecord, names: Sequence[str]) -> Any:
        """The ref of some of a file's arrays."""
        return self._clerk.load.remote(self._storage, record, names)

    def intact(self, records: Sequence[FileRecord]) -> list[FileRecord]:
        """Those that are still what was written."""
        if not records:
            return []
        flags = fetch(self._clerk.check.remote(self._storage, list(records)), "Reading the run directory")
        return [record for record, intact in zip(records, flags, strict=True) if intact]


def intact_records(run: Run, files: Files, made_from: Mapping[str, str]) -> dict[str, FileRecord]:
    """Records of those files that are listed, were made from exactly that, and are undamaged, in the order given.

    Args:
        run: The run directory.
        files: Its Arrow files; their checksums are taken within the cluster.
        made_from: Fingerprint by file.
    """
    listed = [record for file, key in made_from.items() if (record := run.recorded(file, key)) is not None]
    return {record.file: record for record in files.intact(listed)}
