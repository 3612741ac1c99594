from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raytt.cluster.plumbing import manifest_batches as listing
from raytt.cluster.plumbing.manifest_batches import PAUSE, Listing
from raytt.store.run import FileRecord, Run


def _record(number: int) -> FileRecord:
    return FileRecord(file=f"probe/{number}.arrow", sha256=f"{number:064x}", made_from="key")


class _Clock:
    """Time that passes only where the test says so, and a run whose manifest takes longer the more it lists."""

    def __init__(self, seconds_per_file: float) -> None:
        self.now = 0.0
        self.listed: list[FileRecord] = []
        self.writes: list[float] = []
        self._seconds_per_file = seconds_per_file

    def monotonic(self) -> float:
        return self.now

    def record(self, *records: FileRecord) -> None:
        self.listed += records
        self.writes.append(self._seconds_per_file * len(self.listed))
        self.now += self.writes[-1]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    clock = _Clock(seconds_per_file=1e-5)
    monkeypatch.setattr(listing, "time", clock)
    return clock


def test_many_files_take_a_small_share_of_the_time(clock: _Clock) -> None:
    run: Any = clock
    with Listing(run) as files:
        for number in range(10_000):
            clock.now += 1e-3
            files.add(_record(number))
            files.write_if_due()
    assert clock.listed == [_record(number) for number in range(10_000)]
    # At once it would have been 500 s for 10 s of work.
    assert sum(clock.writes) < 1.25 * 10.0 / PAUSE


def test_what_is_finished_is_listed_once_the_pause_is_over(clock: _Clock) -> None:
    run: Any = clock
    with Listing(run) as files:
        files.add(_record(0))
        files.write_if_due()
        assert clock.listed == [_record(0)]
        files.add(_record(1))
        files.write_if_due()
        assert len(clock.listed) == 1
        clock.now += 1.01 * PAUSE * clock.writes[0]
        files.write_if_due()
        assert clock.listed == [_record(0), _record(1)]
        clock.now += 1.0
        files.write_if_due()
        assert len(clock.writes) == 2


def test_what_was_finished_before_an_error_is_listed(tmp_path: Path) -> None:
    run = Run.open(tmp_path, "r", task_name="t")

    def interrupted() -> None:
        with Listing(run) as files:
            files.add(_record(0))
            files.add(_record(1))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert set(Run.find(tmp_path / "r").files) == {"probe/0.arrow", "probe/1.arrow"}
