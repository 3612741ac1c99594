"""One driver at a time on a run directory, on any file system.

Object stores can neither lock nor create a file only where there is none, so that drivers file claims: each writes one
of its own, then looks for others, and whoever finds another that is alive withdraws. Two that come at the same moment
may both withdraw, but never both go on. A claim is alive while its process is, as far as that can be seen from here;
else while it is renewed, by the clock of the file system.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import uuid
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from raytt.errors import StoreError
from raytt.store.storage import Storage

RENEW_SECONDS = 10.0
"""Between renewals of a claim."""
STALE_SECONDS = 60.0
"""After which a claim that is not renewed no longer counts, where its process cannot be seen."""

_FOLDER = "locks"


class RunLock:
    """A claim on a run directory, while it is open.

    Args:
        storage: The run directory.
        name: Of the run, for the user.

    Raises:
        StoreError: If another driver is at work on it.
    """

    def __init__(self, storage: Storage, name: str) -> None:
        self._storage = storage
        self._name = name
        self._file = f"{_FOLDER}/{uuid.uuid4().hex}.json"
        self._claim = json.dumps(
            {
                "host": socket.gethostname(),
                "place": _place(),
                "pid": os.getpid(),
                "started": _started(os.getpid()),
                "since": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC",
            }
        ).encode()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="raytt-lock", daemon=True)
        self.is_lost = False
        """Whether another driver took over, as this one was not heard of for too long."""

    def __enter__(self) -> RunLock:
        self._storage.write_bytes(self._file, self._claim)
        try:
            self._check_others()
        except BaseException:
            self._storage.delete(self._file)
            raise
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if not self.is_lost:
            # Where the storage is out of reach, the claim ages and goes.
            with suppress(StoreError):
                self._storage.delete(self._file)

    def _check_others(self) -> None:
        times = self._storage.times(_FOLDER)
        now = times[self._file]
        for file in sorted(times):
            if file == self._file:
                continue
            claim = _read(self._storage, file)
            if claim is not None and _is_alive(claim, age=now - times[file]):
                raise StoreError(
                    f"Run {self._name!r} in {self._storage.shown} is in use by process {claim.get('pid')} on "
                    f"{claim.get('host')}, since {claim.get('since')}. Wait until it ends, or give another --name. (If "
                    f"that machine is gone, the run is free {STALE_SECONDS:.0f} s after its last sign of life.)"
                )
            if claim is not None:
                self._storage.delete(file)

    def _renew(self) -> None:
        while not self._stop.wait(RENEW_SECONDS):
            try:
                if not self._storage.exists(self._file):
                    self.is_lost = True
                    return
                self._storage.write_bytes(self._file, self._claim)
            except StoreError:
                # An outage of the storage ends the run where it needs the storage; the claim merely ages.
                continue


def _read(storage: Storage, file: str) -> dict[str, Any] | None:
    """A claim; an empty one if it cannot be understood, None if it is gone by now."""
    try:
        claim = json.loads(storage.read_bytes(file))
    except StoreError:
        if storage.exists(file):
            raise
        return None
    except (ValueError, RecursionError):
        return {}
    return claim if isinstance(claim, dict) else {}


def _is_alive(claim: dict[str, Any], *, age: float) -> bool:
    if claim.get("place") == _place() and isinstance(claim.get("pid"), int):
        started = _started(claim["pid"])
        return started is not None and started == claim.get("started")
    return age < STALE_SECONDS


def _place() -> str:
    """Among whose processes ours can be looked up: this boot of this machine's kernel, and this container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def _started(pid: int) -> str | None:
    """When a process started, which tells it from a later one of the same number; None if there is none."""
    try:
        # The second field, a name in brackets, may hold spaces.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        pass
    if Path("/proc/self/stat").exists():
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except OSError:
        return "?"
    return "?"
