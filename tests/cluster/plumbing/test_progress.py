from __future__ import annotations

import io
import re

import pytest

from raytt.cluster.plumbing import progress
from raytt.cluster.plumbing.progress import Reporter


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream", [None, io.StringIO(), _Terminal()])
def test_durations_add_up_whatever_is_shown(stream: io.StringIO | None) -> None:
    ended: list[dict[str, float]] = []
    reporter = Reporter(stream, earlier={"probe": 100.0}, on_end=lambda seconds: ended.append(dict(seconds)))
    for _ in range(2):
        with reporter.phase("probe", "something") as phase:
            phase.expect(3, "blocks")
            phase.advance()
    with pytest.raises(KeyError), reporter.phase("solve", "something"):
        raise KeyError
    assert list(reporter.seconds) == ["probe", "solve"]
    assert 100.0 < ended[0]["probe"] < ended[1]["probe"] < 200.0
    assert ended[-1] == reporter.seconds


def test_lines_of_a_log() -> None:
    stream = io.StringIO()
    reporter = Reporter(stream)
    with reporter.phase("probe", "reading") as phase:
        phase.expect(2)
        phase.advance()
    with pytest.raises(KeyError), reporter.phase("solve", "simulations"):
        raise KeyError
    reporter.say("the end")
    lines = re.sub(r"[\d.]+ s", "X s", stream.getvalue()).splitlines()
    assert lines == [
        "  probe  reading …",
        "  probe  done after X s",
        "  solve  simulations …",
        "  solve  stopped after X s",
        "the end",
    ]


def test_a_log_hears_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    stream = io.StringIO()
    with Reporter(stream).phase("probe", "x") as phase:
        phase.expect(2, "blocks")
        phase.advance()
        phase.advance()
    assert re.sub(r"\d+ s", "X s", stream.getvalue()).splitlines()[1:3] == [
        "  probe  1 of 2 blocks, about X s left",
        "  probe  2 of 2 blocks, about X s left",
    ]


@pytest.mark.parametrize("stream", [io.StringIO(), _Terminal()])
def test_what_is_done_again_is_said_and_counted(stream: io.StringIO) -> None:
    heard: list[tuple[str, int, int | None, int]] = []

    class Counter:
        retries = 0

        def expected(self, phase: str, total: int) -> None:
            heard.append((phase, 0, total, 0))

        def advanced(self, phase: str, done: int, total: int | None, rows: int) -> None:
            heard.append((phase, done, total, rows))

        def retried(self) -> None:
            self.retries += 1

    reporter = Reporter(stream)
    with reporter.phase("start", "x") as phase:
        phase.advance()
    reporter.meter = meter = Counter()
    with reporter.phase("probe", "x") as phase:
        phase.expect(2)
        phase.advance(rows=40)
        phase.retried("Block [3] failed and is tried again.")
    assert heard == [("probe", 0, 2, 0), ("probe", 1, 2, 40)]
    assert meter.retries == 1
    assert "  probe  Block [3] failed and is tried again." in stream.getvalue()


def test_a_terminal_gets_a_full_bar() -> None:
    stream = _Terminal()
    with Reporter(stream).phase("probe", "x") as phase:
        phase.expect(2, "blocks of samples")
        phase.advance()
        phase.advance()
    assert "blocks of samples" in stream.getvalue()
    assert "2/2" in stream.getvalue()
