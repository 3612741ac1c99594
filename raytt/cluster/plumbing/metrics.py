"""Gauges that Ray exports for Prometheus (as ``ray_raytt_…``), so that a run can be watched from a dashboard."""

from __future__ import annotations

import time

from ray.util.metrics import Gauge

_TAGS = ("run",)


class Metrics:
    """The gauges of one run, fed by its phases; see `raytt.cluster.plumbing.progress.Meter`.

    Needs a process within the cluster: a ``ray://`` driver has nobody to export for it.

    Args:
        run: Name of the run, the gauges' tag.
        num_candidates: That are to be solved.
    """

    def __init__(self, run: str, *, num_candidates: int) -> None:
        self._num_candidates = num_candidates
        self._rows = 0
        self._shards = 0
        self._solved = 0
        self._retries = 0
        self._since: float | None = None

        def gauge(name: str, description: str) -> Gauge:
            return Gauge(f"raytt_{name}", description, tag_keys=_TAGS).set_default_tags({"run": run})

        self._gauges = {
            "shards": gauge("shards_done", "Shards of sketched Jacobian rows that are written."),
            "speed": gauge("rows_per_second", "Jacobian rows computed and written per second, since the first."),
            "candidates": gauge("candidates_solved", "Candidates whose training is simulated."),
            "retries": gauge("retries", "Pieces of work that were done again."),
        }
        for each in self._gauges.values():
            each.set(0)

    def expected(self, phase: str, total: int) -> None:
        """A phase begins with pieces of one kind."""
        self._since = time.monotonic()
        if phase == "solve" and total == 0:
            self._solved = self._num_candidates
            self._gauges["candidates"].set(self._solved)

    def advanced(self, phase: str, done: int, total: int | None, rows: int) -> None:
        """A phase has done one more piece."""
        if rows:
            self._rows += rows
            self._shards += 1
            self._gauges["shards"].set(self._shards)
            elapsed = time.monotonic() - (self._since or time.monotonic())
            if elapsed > 0.0:
                self._gauges["speed"].set(self._rows / elapsed)
        if phase == "solve" and total:
            # Pieces are made by path and by batch size; the gauge counts the finished share of all candidates.
            # Some are simulated once more without noise, after all have been with it.
            self._solved = max(self._solved, int(self._num_candidates * min(1.0, done / total)))
            self._gauges["candidates"].set(self._solved)

    def retried(self) -> None:
        """Something was done again."""
        self._retries += 1
        self._gauges["retries"].set(self._retries)
