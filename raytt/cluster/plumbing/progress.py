"""What the driver shows while it waits: a bar per phase on a terminal, plain lines in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

LINE_SECONDS = 15.0
"""Between plain lines of one phase."""


class Meter(Protocol):
    """Counts what phases do, for others than the user: see `raytt.cluster.plumbing.metrics.Metrics`."""

    def expected(self, phase: str, total: int) -> None:
        """A phase has ``total`` pieces of work ahead."""

    def advanced(self, phase: str, done: int, total: int | None, rows: int) -> None:
        """A phase has done one more piece, and with it so many Jacobian rows."""

    def retried(self) -> None:
        """Something was done again."""


class Reporter:
    """Shows phases and their progress, and keeps their durations.

    Args:
        stream: Where to; None shows nothing. Standard error leaves standard output to the result.
        earlier: Durations of phases so far, to which those shown now are added.
        on_end: Called with all durations when a phase has ended, however it did.
    """

    def __init__(
        self,
        stream: TextIO | None,
        *,
        earlier: Mapping[str, float] | None = None,
        on_end: Callable[[dict[str, float]], None] = lambda _: None,
    ) -> None:
        self._stream = stream
        self._bars = stream is not None and stream.isatty()
        self._on_end = on_end
        self.seconds: dict[str, float] = dict(earlier or {})
        """Duration of each phase."""
        self.meter: Meter | None = None
        """Counts along, in phases that begin after it was set."""

    @contextmanager
    def phase(self, name: str, what: str) -> Iterator[Phase]:
        """Time a phase and show what it does; durations of the same name add up."""
        begin = time.perf_counter()
        phase = (
            _BarPhase(name, what, self._stream) if self._bars and self._stream else _LinePhase(name, what, self._stream)
        )
        phase.meter = self.meter
        try:
            with phase:
                yield phase
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begin
            self._on_end(self.seconds)

    def say(self, text: str) -> None:
        """Show a line between phases."""
        if self._stream is not None:
            print(text, file=self._stream, flush=True)


class Phase:
    """A phase in progress."""

    def __init__(self, name: str, what: str, stream: TextIO | None) -> None:
        self.name = name
        self.what = what
        self.stream = stream
        self.done = 0
        self.total: int | None = None
        self.meter: Meter | None = None

    def __enter__(self) -> Phase:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        return None

    def expect(self, total: int, what: str | None = None) -> None:
        """There are ``total`` pieces of work ahead."""
        self.done, self.total, self.what = 0, total, what or self.what
        if self.meter is not None:
            self.meter.expected(self.name, total)

    def advance(self, *, rows: int = 0) -> None:
        """One piece of work is done, and so many Jacobian rows with it."""
        self.done += 1
        if self.meter is not None:
            self.meter.advanced(self.name, self.done, self.total, rows)

    def note(self, text: str) -> None:
        """Show a line about how the phase goes."""
        self._print(text)

    def retried(self, why: str) -> None:
        """Something is done again; says what and why."""
        if self.meter is not None:
            self.meter.retried()
        self._print(why)

    def _print(self, text: str) -> None:
        """Show a line."""
        if self.stream is not None:
            print(f"{self.name:>7}  {text}", file=self.stream, flush=True)


class _LinePhase(Phase):
    """Plain lines: when it begins, now and then, and when it ends."""

    def __enter__(self) -> Phase:
        self._begin = self._last = self._expected = time.perf_counter()
        self._print(f"{self.what} …")
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        took = time.perf_counter() - self._begin
        self._print(f"{'stopped' if kind else 'done'} after {took:.1f} s")

    def expect(self, total: int, what: str | None = None) -> None:
        super().expect(total, what)
        self._expected = time.perf_counter()

    def advance(self, *, rows: int = 0) -> None:
        super().advance(rows=rows)
        now = time.perf_counter()
        if now - self._last > LINE_SECONDS:
            self._last = now
            left = "" if self.total is None else _left((now - self._expected) / self.done * (self.total - self.done))
            self._print(f"{self.done} of {self.total} {self.what}{left}")


class _BarPhase(Phase):
    """A bar that stays when the phase has ended."""

    def __init__(self, name: str, what: str, stream: TextIO | None) -> None:
        super().__init__(name, what, stream)
        self._progress = Progress(
            SpinnerColumn(finished_text="✓"),
            TextColumn("{task.fields[phase]:>7}  {task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Console(file=stream),
        )
        self._task: TaskID = self._progress.add_task(what, phase=name, total=None)

    def __enter__(self) -> Phase:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if not kind:
            total = self.total or 1
            self._progress.update(self._task, total=total, completed=total)
        self._progress.stop()

    def expect(self, total: int, what: str | None = None) -> None:
        super().expect(total, what)
        self._progress.update(self._task, total=total, completed=0, description=self.what)

    def advance(self, *, rows: int = 0) -> None:
        super().advance(rows=rows)
        self._progress.update(self._task, completed=self.done)

    def _print(self, text: str) -> None:
        self._progress.console.print(f"{self.name:>7}  {text}", markup=False, highlight=False)


def _left(seconds: float) -> str:
    return f", about {seconds:.0f} s left" if seconds < 120.0 else f", about {seconds / 60.0:.0f} min left"
