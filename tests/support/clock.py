"""Clocks that a test puts forward: hours of waiting are over at once, and a slow machine changes nothing."""

from __future__ import annotations

import time


class Clock:
    """Takes the place of the module ``time`` in a module that measures how long something has taken."""

    def __init__(self) -> None:
        self.ahead = 0.0
        """Seconds that it is put forward."""

    def monotonic(self) -> float:
        """As `time.monotonic`, put forward."""
        return time.monotonic() + self.ahead


class StoppedClock:
    """Takes the place of the module ``time`` where time is to pass only as a test says."""

    def __init__(self) -> None:
        self.now = 0.0
        """Seconds since it was made."""

    def perf_counter(self) -> float:
        """As `time.perf_counter`."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
