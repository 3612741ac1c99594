"""Listing many files in a run's manifest, which is replaced as a whole each time."""

from __future__ import annotations

import time

from raytt.store.run import FileRecord, Run

PAUSE = 20.0
"""Between two writes of the manifest, in times that the last one took. If each of n files were listed at once, that
would take a time of order n²: some 20 ms per file where there are 2,000, ten times all else that the driver does."""


class Listing:
    """Lists finished files in the manifest, as often as that takes a small share of the time; a context that ends with
    all of them listed.

    A driver that is killed loses what it had not listed: a second's work where the manifest takes 50 ms.

    Args:
        run: The run directory.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._finished: list[FileRecord] = []
        self._due = 0.0

    def __enter__(self) -> Listing:
        return self

    def __exit__(self, *_: object) -> None:
        self._write()

    def add(self, record: FileRecord) -> None:
        """A finished file, to be listed soon."""
        self._finished.append(record)

    def write_if_due(self) -> None:
        """List what is finished, unless that was done a moment ago."""
        if time.monotonic() >= self._due:
            self._write()

    def _write(self) -> None:
        if self._finished:
            finished, self._finished = self._finished, []
            begin = time.monotonic()
            self._run.record(*finished)
            end = time.monotonic()
            self._due = end + PAUSE * (end - begin)
