"""Records between two measured ones: measured for the rows that something happened to, interpolated for the others.

A measurement evaluates all N samples and costs many steps. Where a row arrived at the target, or diverged, is wanted to
within `raytt.dynamics.recording.SPACING`; elsewhere its curve is smooth enough for four times that distance. So states
are kept at every record, and those of a row are evaluated only when it turns out that it arrived among them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raytt.dynamics.recording import Measurements, Recorder

Measure = Callable[[Tensor, Tensor | None], Measurements]
"""From states (k, width) and α (k,) to what is recorded of them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Snapshot:
    record: int
    state: Tensor
    alpha: Tensor | None


class Between:
    """Snapshots of M rows on one path since the last measured record."""

    def __init__(self, recorder: Recorder, measure: Measure) -> None:
        self._recorder = recorder
        self._measure = measure
        self._snapshots: list[_Snapshot] = []

    def keep(self, record: int, state: Tensor, alpha: Tensor | None) -> None:
        """Remember the rows at a record that is not measured for every row."""
        self._snapshots.append(
            _Snapshot(record=record, state=state.clone(), alpha=None if alpha is None else alpha.clone())
        )

    def store(
        self,
        rows: NDArray[np.int64],
        paths: NDArray[np.int64],
        before: tuple[int, Measurements],
        after: tuple[int, Measurements],
    ) -> None:
        """Store what is between two measured records, given as (record, measurements of the rows), and forget it."""
        if not self._snapshots:
            return
        steps = self._recorder.steps
        events = self._recorder.eventful(rows, paths, after[1])
        eventful, quiet = np.flatnonzero(events), np.flatnonzero(~events)
        index = torch.as_tensor(eventful, device=self._snapshots[0].state.device)
        for snapshot in self._snapshots:
            share = (steps[snapshot.record] - steps[before[0]]) / (steps[after[0]] - steps[before[0]])
            blended = before[1].blend(after[1], quiet, np.full(len(quiet), share))
            self._recorder.store(snapshot.record, rows[quiet], paths[quiet], blended)
            if len(eventful):
                alpha = None if snapshot.alpha is None else snapshot.alpha[index]
                found = self._measure(snapshot.state.index_select(0, index), alpha)
                self._recorder.store(snapshot.record, rows[eventful], paths[eventful], found)
        self._snapshots.clear()
