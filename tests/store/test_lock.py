from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from raytt.errors import StoreError
from raytt.store import lock
from raytt.store.lock import RunLock
from raytt.store.run import Run
from raytt.store.storage import Storage

PATIENCE = 300.0
"""Seconds for what a thread does every 0.05 s: an end to what hangs, however busy the machine is."""

_HOLDER = """
import sys
from raytt.store.lock import RunLock
from raytt.store.storage import Storage
with RunLock(Storage(root=sys.argv[1]), "r"):
    print("locked", flush=True)
    sys.stdin.read()
"""


def hold(folder: Path) -> subprocess.Popen[str]:
    """A process that holds the lock until its standard input is closed."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    return process


def claims(folder: Path) -> list[Path]:
    return list((folder / "locks").iterdir())


def write_claim(folder: Path, *, age: float, **claim: Any) -> Path:
    """A claim last renewed ``age`` seconds ago."""
    (folder / "locks").mkdir(parents=True, exist_ok=True)
    path = folder / "locks" / "other.json"
    path.write_text(json.dumps(claim))
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_a_second_driver_is_refused_and_told_who_is_at_work(tmp_path: Path) -> None:
    holder = hold(tmp_path)
    try:
        message = rf"Run 'r' in {tmp_path} is in use by process {holder.pid} on \S+, since 20.* UTC"
        with pytest.raises(StoreError, match=message), RunLock(Storage(root=str(tmp_path)), "r"):
            pass
        assert len(claims(tmp_path)) == 1
    finally:
        holder.communicate("")
    with RunLock(Storage(root=str(tmp_path)), "r"):
        assert len(claims(tmp_path)) == 1
    assert claims(tmp_path) == []


def test_the_same_process_is_refused_as_well(tmp_path: Path) -> None:
    with Run.open(tmp_path, "r", task_name="t").locked():
        other = Run.open(tmp_path, "r", task_name="t")
        with pytest.raises(StoreError, match="in use by process"), other.locked():
            pass
        with Run.open(tmp_path, "another", task_name="t").locked():
            pass
    with other.locked():
        pass


def test_a_killed_driver_leaves_no_lock(tmp_path: Path) -> None:
    holder = hold(tmp_path)
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    assert len(claims(tmp_path)) == 1
    with RunLock(Storage(root=str(tmp_path)), "r"):
        assert len(claims(tmp_path)) == 1


def test_another_process_of_the_same_number_is_not_the_driver(tmp_path: Path) -> None:
    other = write_claim(tmp_path, age=0.0, place=lock._place(), pid=os.getpid(), started="1")
    with RunLock(Storage(root=str(tmp_path)), "r"):
        (own,) = claims(tmp_path)
        assert own != other


@pytest.mark.parametrize("claim", [{"host": "far", "place": "elsewhere", "pid": 1, "started": "1"}, {}])
def test_claims_from_elsewhere_count_while_they_are_renewed(tmp_path: Path, claim: dict[str, Any]) -> None:
    write_claim(tmp_path, age=lock.STALE_SECONDS / 2, **claim)
    with pytest.raises(StoreError, match="free 60 s after its last sign of life"), RunLock(_storage(tmp_path), "r"):
        pass
    stale = write_claim(tmp_path, age=lock.STALE_SECONDS * 2, **claim)
    with RunLock(_storage(tmp_path), "r"):
        assert not stale.exists()


def _storage(folder: Path) -> Storage:
    return Storage(root=str(folder))


@pytest.mark.parametrize("text", ["", "[]", "[" * 100_000, '{"pid": "x", "place": 3}', "\udcff"])
def test_claims_that_cannot_be_read_count_by_their_age(tmp_path: Path, text: str) -> None:
    path = write_claim(tmp_path, age=0.0)
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(StoreError, match="in use"), RunLock(_storage(tmp_path), "r"):
        pass
    os.utime(path, (time.time() - 1000,) * 2)
    with RunLock(_storage(tmp_path), "r"):
        pass


def test_a_claim_is_renewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "RENEW_SECONDS", 0.05)
    with RunLock(_storage(tmp_path), "r"):
        (claim,) = claims(tmp_path)
        os.utime(claim, (0.0, 0.0))
        deadline = time.monotonic() + PATIENCE
        while claim.stat().st_mtime < 1.0 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert claim.stat().st_mtime > 1.0


def test_who_lost_its_claim_writes_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "RENEW_SECONDS", 0.05)
    run = Run.open(tmp_path, "r", task_name="t")
    with run.locked():
        run.check_inputs("probe", {"a": 1})
        (claim,) = claims(tmp_path / "r")
        claim.unlink()
        deadline = time.monotonic() + PATIENCE
        while not run._lock.is_lost and time.monotonic() < deadline:  # type: ignore[union-attr]
            time.sleep(0.02)
        with pytest.raises(StoreError, match="Another driver took over"):
            run.check_inputs("validation", {"a": 1})
    assert Run.open(tmp_path, "r", task_name="t").inputs == {"probe": {"a": 1}}


def test_what_another_driver_did_meanwhile_is_seen(tmp_path: Path) -> None:
    early = Run.open(tmp_path, "r", task_name="t")
    with Run.open(tmp_path, "r", task_name="t").locked() as run:
        run.check_inputs("probe", {"a": 1})
    assert early.inputs == {}
    with early.locked():
        assert early.inputs == {"probe": {"a": 1}}
