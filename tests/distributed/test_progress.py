from __future__ import annotations

import io
import re

import pytest

from raytt.distributed import progress
from raytt.distributed.progress import Reporter


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
        phase.expect(2)
        phase.advance()
        phase.advance()
    assert "  probe  1 of 2\n  probe  2 of 2\n" in stream.getvalue()


def test_a_terminal_gets_a_full_bar() -> None:
    stream = _Terminal()
    with Reporter(stream).phase("probe", "x") as phase:
        phase.expect(2, "blocks of samples")
        phase.advance()
        phase.advance()
    assert "blocks of samples" in stream.getvalue()
    assert "2/2" in stream.getvalue()
